//! The slow and obvious way to do what the filter does.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// Undoes `%XX`.
pub fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut pieces = text.split(|byte| *byte == b'%');
    let mut decoded = pieces.next().unwrap_or_default().to_vec();
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        decoded.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
        decoded.extend_from_slice(&piece[2..]);
    }
    Some(decoded)
}

/// `%XX` for everything that is not unreserved.
pub fn percent_encode(text: &[u8]) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.iter().map(|&byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Base64 that is exactly what an encoder writes.
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok().filter(|bytes| STANDARD.encode(bytes).as_bytes() == text)
}

/// The same without padding and with the alphabet for URLs.
pub fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| URL_SAFE_NO_PAD.encode(bytes) == text)
}

/// PEM as OpenSSL writes it.
pub fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// A JSON text in which no member stands twice: as many are kept as are written.
pub fn json(text: &[u8]) -> Option<Value> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let mut inside = false;
    let mut written = 0;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => inside = !inside,
            b'\\' if inside => _ = bytes.next(),
            b':' if !inside => written += 1,
            _ => {}
        }
    }
    (members(&value) == written).then_some(value)
}

/// Such a text that is an object.
pub fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match json(text)? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// How many members there are at all depths.
fn members(value: &Value) -> usize {
    match value {
        Value::Object(object) => object.len() + object.values().map(members).sum::<usize>(),
        Value::Array(list) => list.iter().map(members).sum(),
        _ => 0,
    }
}

/// A JSON object as `google.protobuf.Struct`, by hand: field numbers and lengths.
pub fn protobuf_struct(members: &Map<String, Value>) -> Vec<u8> {
    members.iter().flat_map(|(name, member)| protobuf_entry(name, &protobuf_value(member))).collect()
}

/// `envoy.config.core.v3.Metadata` with one payload.
pub fn protobuf_metadata(namespace: &str, key: &str, payload: &Value) -> Vec<u8> {
    let fields = protobuf_entry(key, &protobuf_value(payload));
    field(1, &[field(1, namespace.as_bytes()), field(2, &fields)].concat())
}

fn protobuf_entry(name: &str, value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value)].concat())
}

fn protobuf_value(json: &Value) -> Vec<u8> {
    match json {
        Value::Null => vec![0x08, 0],
        Value::Number(number) => [&[0x11][..], &number.as_f64().unwrap().to_le_bytes()].concat(),
        Value::String(text) => field(3, text.as_bytes()),
        Value::Bool(truth) => vec![0x20, u8::from(*truth)],
        Value::Object(members) => field(5, &protobuf_struct(members)),
        Value::Array(values) => {
            field(6, &values.iter().flat_map(|each| field(1, &protobuf_value(each))).collect::<Vec<_>>())
        }
    }
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 127 {
        encoded.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    encoded.push(length as u8);
    encoded.extend_from_slice(bytes);
    encoded
}
