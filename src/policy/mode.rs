//! What a caller must present.

/// `mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// A certificate; tokens are not looked at.
    Mtls,
    /// A certificate and a token bound to it.
    #[default]
    BearerPlusMtlsRequired,
    /// A token; a certificate, too, where the path or the token asks for one.
    BearerPlusMtlsOptional,
}
