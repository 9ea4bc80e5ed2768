//! Counts the answers to named requests, so that a test can judge them while something is broken.
//!
//! PLAN has a line a request, with tabs: CALLER CERTIFICATE KEY NAME METHOD PATH TOKEN; `-` is none. A caller is a thread with a connection of its own, on which it
//! sends its requests in turn, PAUSE-MS apart, until the line `end` comes in. A caller whose name ends in `!` makes a new connection for each request.
//!
//! Each second it prints what was answered, a line for each kind: SECOND NAME ANSWER COUNT, with tabs. SECOND is when the request was sent, in whole seconds since
//! 1970. ANSWER is the status with the `code` of a refusal (`401 token_expired`), `refused` where TLS was, or how it failed: `closed` before the answer was there,
//! `timeout`, `unreachable`.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::io::{ErrorKind, Read, Write, stdin};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::{Outcome, request, size_of_answer, tls, trusted};

/// An answer that takes longer is none.
const DEADLINE: Duration = Duration::from_secs(20);

/// By second, name and answer.
type Tally = BTreeMap<(u64, String, String), u64>;

struct Caller {
    port: u16,
    tls: Arc<ClientConfig>,
    requests: Vec<(String, Vec<u8>)>,
    keeps_alive: bool,
}

/// Asks and counts.
pub fn run(arguments: &[String]) -> Outcome<()> {
    let [port, trust, plan, pause] = arguments else {
        return Err("usage: load judge PORT TRUST PLAN PAUSE-MS".into());
    };
    let callers = read_plan(port.parse()?, trust, &read_to_string(plan)?)?;
    let pause = Duration::from_millis(pause.parse()?);
    let tally = Mutex::new(Tally::new());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for caller in &callers {
            scope.spawn(|| caller.ask(&tally, &is_over, pause));
        }
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_secs(1));
                print(&mut lock(&tally));
            }
        });
        // Also the end of the program that has started this one.
        let _ = stdin().read_line(&mut String::new());
        is_over.store(true, Ordering::Relaxed);
    });
    print(&mut lock(&tally));
    Ok(())
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn print(tally: &mut Tally) {
    for ((second, name, answer), count) in std::mem::take(tally) {
        println!("{second}\t{name}\t{answer}\t{count}");
    }
}

fn read_plan(port: u16, trust: &str, plan: &str) -> Outcome<Vec<Caller>> {
    let roots = trusted(trust)?;
    let mut callers: BTreeMap<&str, Caller> = BTreeMap::new();
    for line in plan.lines() {
        let columns: Vec<Option<&str>> = line.split('\t').map(|text| Some(text).filter(|text| *text != "-")).collect();
        let [Some(caller), certificate, key, Some(name), Some(method), Some(path), token] = columns[..] else {
            return Err(format!("not seven columns: {line}").into());
        };
        let requests = match callers.get_mut(caller) {
            Some(known) => &mut known.requests,
            None => {
                let tls = tls(roots.clone(), certificate.zip(key))?;
                let keeps_alive = !caller.ends_with('!');
                let new = Caller { port, tls, requests: Vec::new(), keeps_alive };
                &mut callers.entry(caller).or_insert(new).requests
            }
        };
        requests.push((name.to_owned(), request(method, path, token)));
    }
    Ok(callers.into_values().collect())
}

impl Caller {
    fn ask(&self, tally: &Mutex<Tally>, is_over: &AtomicBool, pause: Duration) {
        let mut connection = None;
        for (name, request) in self.requests.iter().cycle() {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            let second = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
            let (answer, goes_on) = self.exchange(&mut connection, request);
            if !(goes_on && self.keeps_alive) {
                connection = None;
            }
            *lock(tally).entry((second, name.clone(), answer)).or_default() += 1;
            thread::sleep(pause);
        }
    }

    /// Sends a request. Returns its answer, and whether the connection stays open.
    fn exchange(
        &self,
        connection: &mut Option<StreamOwned<ClientConnection, TcpStream>>,
        request: &[u8],
    ) -> (String, bool) {
        let is_new = connection.is_none();
        let stream = match connection {
            Some(stream) => stream,
            None => match self.connect() {
                Ok(stream) => connection.insert(stream),
                Err(_) => return ("unreachable".to_owned(), false),
            },
        };
        match answer(stream, request) {
            Ok((answer, goes_on)) => (answer, goes_on),
            // Envoy may close a connection that is idle, or whose listener has gone, while a request is on its way: a client sends it again.
            Err(Failed::Closed) if !is_new => {
                *connection = None;
                self.exchange(connection, request)
            }
            Err(failed) => (failed.as_str().to_owned(), false),
        }
    }

    fn connect(&self) -> Outcome<StreamOwned<ClientConnection, TcpStream>> {
        let socket = TcpStream::connect_timeout(&([127, 0, 0, 1], self.port).into(), DEADLINE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        Ok(StreamOwned::new(ClientConnection::new(self.tls.clone(), ServerName::try_from("localhost")?)?, socket))
    }
}

/// The reason why a request has no answer.
#[derive(Clone, Copy)]
enum Failed {
    /// TLS was refused.
    Refused,
    /// The connection ended.
    Closed,
    /// It took too long.
    Timeout,
    /// It is none of HTTP.
    Garbled,
}

impl Failed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Garbled => "garbled",
        }
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Timeout,
            ErrorKind::InvalidData => Self::Refused,
            _ => Self::Closed,
        }
    }
}

/// Sends a request; the answer, and whether the connection stays open.
fn answer(stream: &mut StreamOwned<ClientConnection, TcpStream>, request: &[u8]) -> Result<(String, bool), Failed> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut received = Vec::with_capacity(4096);
    let mut buffer = [0; 4096];
    loop {
        if let Some(size) = size_of_answer(&received).map_err(|_| Failed::Garbled)? {
            return if received.len() == size { read(&received).ok_or(Failed::Garbled) } else { Err(Failed::Garbled) };
        }
        match stream.read(&mut buffer)? {
            0 => return Err(Failed::Closed),
            count => received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// The status, the code of a refusal, and whether the connection stays open.
fn read(answer: &[u8]) -> Option<(String, bool)> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?;
    let goes_on = !head.to_ascii_lowercase().contains("\r\nconnection: close");
    let code = body.split_once("\"code\":\"").and_then(|(_, rest)| rest.split('"').next());
    Some((code.map_or_else(|| status.to_owned(), |code| format!("{status} {code}")), goes_on))
}
