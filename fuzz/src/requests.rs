//! The header map as the host hands it over.

use mtls_authz::pairs;

/// The serialized map: what is read can be printed, and the print is what was read.
pub fn header_map(data: &[u8]) {
    let Some(read) = pairs::decode(data) else {
        return;
    };
    let Some(printed) = pairs::encode(read.iter().copied()) else {
        assert!(read.len() > pairs::MAX_PAIRS || data.len() > pairs::MAX_BYTES);
        return;
    };
    assert_eq!(pairs::decode(&printed).as_ref(), Some(&read));
    assert!(printed == data || (data.is_empty() && read.is_empty()));
}
