//! How fast answers come: every one must be a good one.
//!
//! Opens one keep-alive connection for each CERTIFICATE, sends WARM-UP requests on each, prints `ready` and waits for a
//! line. Then it sends REQUESTS on each connection, one at a time, and prints one line of JSON. TOKENS is a file of one
//! bearer token a line; a connection uses them in turn and starts again at the end. Everything but 200 is an error.
//!
//! One thread that never sleeps: it asks its sockets in turn and yields when none has an answer. So the core that it is
//! pinned to is never idle, and Envoy never pays for waking it up, whether it answers fast or slowly.

use std::fs::read_to_string;
use std::io::{ErrorKind, Read, Write, stdin};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, RootCertStore};

use crate::{Outcome, request, size_of_answer, tls, trusted};

/// An answer that takes longer is a failure and not a figure.
const DEADLINE: Duration = Duration::from_secs(30);

/// Measures.
pub fn run(arguments: &[String]) -> Outcome<()> {
    let [port, trust, path, warm_up, requests, connections @ ..] = arguments else {
        return Err("usage: load PORT TRUST PATH WARM-UP REQUESTS (CERTIFICATE KEY TOKENS)...".into());
    };
    let roots = trusted(trust)?;
    let mut connections = connections
        .chunks(3)
        .map(|files| match files {
            [certificate, key, tokens] => {
                Connection::open(port.parse()?, roots.clone(), path, certificate, key, tokens)
            }
            _ => Err("each connection needs CERTIFICATE KEY TOKENS".into()),
        })
        .collect::<Outcome<Vec<_>>>()?;

    exchange(&mut connections, warm_up.parse()?)?;
    println!("ready");
    if stdin().read_line(&mut String::new())? == 0 {
        return Ok(());
    }
    let started = Instant::now();
    let mut latencies = exchange(&mut connections, requests.parse()?)?;
    let seconds = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    println!(
        "{{\"requests\": {}, \"seconds\": {seconds:.6}, \"p50_us\": {:.1}, \"p99_us\": {:.1}}}",
        latencies.len(),
        percentile(&latencies, 50),
        percentile(&latencies, 99),
    );
    // Connections stay open until the figures of Envoy's process have been read.
    stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Sends so many requests on each connection; the time that each of them took.
fn exchange(connections: &mut [Connection], each: usize) -> Outcome<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(each * connections.len());
    if each == 0 {
        return Ok(latencies);
    }
    let mut open = vec![each; connections.len()];
    let mut last = Instant::now();
    for connection in connections.iter_mut() {
        connection.ask()?;
    }
    while latencies.len() < each * connections.len() {
        let before = latencies.len();
        for (connection, left) in connections.iter_mut().zip(&mut open) {
            if *left > 0 && connection.answered()? {
                latencies.push(connection.asked.elapsed());
                *left -= 1;
                if *left > 0 {
                    connection.ask()?;
                }
            }
        }
        if latencies.len() > before {
            last = Instant::now();
        } else if last.elapsed() > DEADLINE {
            return Err(format!("no answer for {} s", DEADLINE.as_secs()).into());
        } else {
            std::thread::yield_now();
        }
    }
    Ok(latencies)
}

/// In microseconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
}

struct Connection {
    socket: TcpStream,
    tls: ClientConnection,
    requests: Vec<Vec<u8>>,
    next: usize,
    asked: Instant,
    answer: Vec<u8>,
}

impl Connection {
    fn open(
        port: u16,
        roots: Arc<RootCertStore>,
        path: &str,
        certificate: &str,
        key: &str,
        tokens: &str,
    ) -> Outcome<Self> {
        let mut session =
            ClientConnection::new(tls(roots, Some((certificate, key)))?, ServerName::try_from("localhost")?)?;
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        socket.set_nonblocking(true)?;
        let requests: Vec<_> = read_to_string(tokens)?.lines().map(|token| request("GET", path, Some(token))).collect();
        if requests.is_empty() {
            return Err(format!("{tokens} holds no token").into());
        }
        Ok(Self { socket, tls: session, requests, next: 0, asked: Instant::now(), answer: Vec::with_capacity(4096) })
    }

    fn ask(&mut self) -> Outcome<()> {
        let request = &self.requests[self.next % self.requests.len()];
        self.next += 1;
        self.asked = Instant::now();
        self.tls.writer().write_all(request)?;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                written => drop(written?),
            }
        }
        Ok(())
    }

    /// Whether the answer is there. It is read as far as it has come.
    fn answered(&mut self) -> Outcome<bool> {
        match self.tls.read_tls(&mut self.socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Ok(0) => return Err("Envoy closed the connection".into()),
            read => drop(read?),
        }
        let state = self.tls.process_new_packets()?;
        let held = self.answer.len();
        self.answer.resize(held + state.plaintext_bytes_to_read(), 0);
        self.tls.reader().read_exact(&mut self.answer[held..])?;
        let Some(size) = size_of_answer(&self.answer)? else {
            return Ok(false);
        };
        if self.answer.len() != size || !self.answer.starts_with(b"HTTP/1.1 200 ") {
            return Err(format!("not the answer to a good request: {}", String::from_utf8_lossy(&self.answer)).into());
        }
        self.answer.clear();
        Ok(true)
    }
}
