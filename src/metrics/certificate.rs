//! The certificate that the router serves, as metrics tell of it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// When the certificate ends, and whether there was another one that was no good.
///
/// One thread writes it whenever it has looked at the files.
#[derive(Debug, Default)]
pub struct CertificateState {
    ends_at_s: AtomicI64,
    is_refused: AtomicBool,
}

impl CertificateState {
    /// When the first certificate of the chain that is served ends, in seconds since 1970.
    pub fn ends_at_s(&self) -> i64 {
        self.ends_at_s.load(Ordering::Relaxed)
    }

    /// Whether what is in the files now is no good, and what was there before is served on.
    pub fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Notes that a chain is served that ends then.
    pub fn serve(&self, ends_at_s: i64) {
        self.ends_at_s.store(ends_at_s, Ordering::Relaxed);
        self.is_refused.store(false, Ordering::Relaxed);
    }

    /// Notes that the files are no good.
    pub fn refuse(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }
}
