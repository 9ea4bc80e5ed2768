//! The smallest ext_authz server over gRPC: it reads no request and allows all.
//!
//! `always_ok` prints the port that it listens on and ends with its standard input.
//!
//! Just enough HTTP/2 for that: frames are told apart, header blocks are never decoded, and the answer, an empty
//! `CheckResponse` (status 0: allowed), is the same bytes every time.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const FRAME_HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// `:status: 200`, `content-type: application/grpc`, without use of the dynamic table.
const RESPONSE_HEADERS: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// A gRPC message of no bytes.
const MESSAGE: &[u8] = &[0; 5];
const TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";

/// The connection's window is opened again after so many bytes; a stream's own is larger than any request here.
const REOPEN: u32 = 16_384;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?.port());
    std::thread::spawn(|| {
        io::copy(&mut io::stdin(), &mut io::sink()).ok();
        std::process::exit(0);
    });
    for connection in listener.incoming() {
        let connection = connection?;
        std::thread::spawn(|| serve(connection));
    }
    Ok(())
}

fn serve(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    connection.read_exact(&mut [0; PREFACE])?;
    let mut out = Vec::new();
    frame(&mut out, SETTINGS, 0, 0, &[]);
    let mut buffer = vec![0; 65_536];
    let (mut held, mut unacknowledged) = (0, 0);
    loop {
        connection.write_all(&out)?;
        out.clear();
        let read = connection.read(&mut buffer[held..])?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let mut at = 0;
        while let Some((kind, flags, stream, payload)) = next_frame(&buffer[at..held]) {
            at += FRAME_HEADER + payload.len();
            match kind {
                SETTINGS if flags & ACK == 0 => frame(&mut out, SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => frame(&mut out, PING, ACK, 0, payload),
                GOAWAY => return Ok(()),
                HEADERS | DATA => {
                    if kind == DATA {
                        unacknowledged += u32::try_from(payload.len()).unwrap_or_default();
                    }
                    if flags & END_STREAM != 0 {
                        frame(&mut out, HEADERS, END_HEADERS, stream, RESPONSE_HEADERS);
                        frame(&mut out, DATA, 0, stream, MESSAGE);
                        frame(&mut out, HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS);
                    }
                }
                _ => {}
            }
        }
        if unacknowledged > REOPEN {
            frame(&mut out, WINDOW_UPDATE, 0, 0, &unacknowledged.to_be_bytes());
            unacknowledged = 0;
        }
        buffer.copy_within(at..held, 0);
        held -= at;
    }
}

/// Type, flags, stream and payload of a frame that is there as a whole.
fn next_frame(bytes: &[u8]) -> Option<(u8, u8, u32, &[u8])> {
    let (header, rest) = bytes.split_at_checked(FRAME_HEADER)?;
    let size = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
    let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
    Some((header[3], header[4], stream, rest.get(..size)?))
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let size = u32::try_from(payload.len()).expect("the payloads here are short").to_be_bytes();
    out.extend_from_slice(&size[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
