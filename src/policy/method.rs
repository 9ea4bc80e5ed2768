//! Methods, as policies list them.
//!
//! Methods are case-sensitive (RFC 9110 section 9.1), but some upstreams write them in capitals before they look at them. So a
//! policy lists only methods that are known, and a request with a known method in other letters is refused.

/// The methods that a policy may list: the registered ones, and those of `methods.additional`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Methods {
    /// `methods.additional`, in capitals.
    pub additional: Vec<String>,
}

impl Methods {
    /// May a policy list this method?
    pub fn is_known(&self, method: &str) -> bool {
        self.iter().any(|known| known == method)
    }

    /// Is this a known method, written in other letters?
    pub fn is_respelled(&self, method: &str) -> bool {
        method.bytes().any(|letter| letter.is_ascii_lowercase())
            && self.iter().any(|known| known.eq_ignore_ascii_case(method))
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        REGISTERED.into_iter().chain(self.additional.iter().map(String::as_str))
    }
}

/// Does a list of methods cover this one? An empty list covers every method. `GET` covers `HEAD`, which asks for the same answer
/// without its content (RFC 9110 section 9.3.2).
pub fn covers(listed: &[String], method: &str) -> bool {
    listed.is_empty() || listed.iter().any(|known| known == method || (method == HEAD && known == GET))
}

/// The method that asks for a tunnel.
pub const CONNECT: &str = "CONNECT";
/// The method that covers [`HEAD`].
pub const GET: &str = "GET";
/// The method that `GET` covers.
pub const HEAD: &str = "HEAD";

/// IANA's registry of methods (RFC 9110 section 16.1).
static REGISTERED: [&str; 40] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_covers_its_methods_and_get_covers_head() {
        for (listed, method, expected) in [
            (&["GET"][..], "GET", true),
            (&["GET"], "HEAD", true),
            (&["HEAD"], "GET", false),
            (&["POST"], "HEAD", false),
            (&["POST", "GET"], "HEAD", true),
            (&["GET"], "get", false),
            (&[], "HEAD", true),
        ] {
            let listed: Vec<String> = listed.iter().map(|method| (*method).to_owned()).collect();
            assert_eq!(covers(&listed, method), expected, "{listed:?} {method}");
        }
    }

    #[test]
    fn a_known_method_in_other_letters_is_respelled() {
        let methods = Methods { additional: vec!["PURGE".to_owned()] };
        for (method, is_known, is_respelled) in [
            ("GET", true, false),
            ("get", false, true),
            ("Version-Control", false, true),
            ("PURGE", true, false),
            ("Purge", false, true),
            ("FLUSH", false, false),
            ("flush", false, false),
            ("*", false, false),
        ] {
            assert_eq!((methods.is_known(method), methods.is_respelled(method)), (is_known, is_respelled), "{method}");
        }
    }
}
