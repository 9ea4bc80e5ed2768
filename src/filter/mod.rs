//! The adapter: the only part that knows Envoy. It reads what the core asks for, and carries out what the core decides.

mod abi;
mod feeds;
mod fetch;
mod gauges;
mod host;
mod http;
mod inventory;
mod waiting;
mod worker;
