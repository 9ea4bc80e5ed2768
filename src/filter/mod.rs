//! The adapter: the only part that knows Envoy. It reads what the core asks for, and carries out what the core decides.

mod abi;
mod host;
mod http;
mod keys;
mod worker;
