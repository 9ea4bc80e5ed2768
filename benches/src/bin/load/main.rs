//! A closed-loop HTTP/1.1 load client over mutual TLS.
//!
//! `load PORT TRUST PATH WARM-UP REQUESTS (CERTIFICATE KEY TOKENS)...` measures, see [`measured`]; `load judge PORT TRUST PLAN PAUSE-MS` asks what has a known
//! answer and counts what comes back, see [`judged`].

mod judged;
mod measured;

use std::error::Error;
use std::fs::read;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == "judge" => judged::run(rest),
        _ => measured::run(&arguments),
    };
    if let Err(error) = outcome {
        eprintln!("load: {error}");
        std::process::exit(1);
    }
}

fn trusted(file: &str) -> Outcome<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read(file)?) {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(roots))
}

/// A client that shows the certificate, or none.
fn tls(roots: Arc<RootCertStore>, credential: Option<(&str, &str)>) -> Outcome<Arc<ClientConfig>> {
    let config = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match credential {
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<Vec<_>, _>>()?;
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&read(key)?)?)?
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn request(method: &str, path: &str, token: Option<&str>) -> Vec<u8> {
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("{method} {path} HTTP/1.1\r\nhost: api.example\r\nuser-agent: load\r\naccept: application/json\r\n{authorization}\r\n")
        .into_bytes()
}

/// Head and body, once both are there.
fn size_of_answer(answer: &[u8]) -> Outcome<Option<usize>> {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&answer[..end])?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let size = end + 4 + length.unwrap_or(Ok(0))?;
    Ok((answer.len() >= size).then_some(size))
}
