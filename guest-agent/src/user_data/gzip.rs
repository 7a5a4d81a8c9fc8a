//! gzip (RFC 1952) with a bound on what comes out.

use std::io::Read;

use flate2::read::MultiGzDecoder;

/// The most bytes that the streams may become: user-data has at most 1 MiB packed, and a bomb of a
/// thousand to one must not fill a small guest's memory.
pub const MAX_BYTES: usize = 16 << 20;

/// Why a stream is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GzipError {
    /// It would become more than [`MAX_BYTES`].
    #[error("all gzip data together unpacks to more than {MAX_BYTES} bytes")]
    TooLong,
    /// Cut short, or its check sum is wrong.
    #[error("the gzip data is damaged")]
    Damaged,
}

/// Whether the bytes begin as a gzip stream does.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b, 8])
}

/// What the streams of one user-data may still become, all together: many small bombs are as
/// bad as a large one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_BYTES)
    }
}

impl Budget {
    /// Unpacks a stream of one or several members, and counts it.
    pub fn unpack(&mut self, bytes: &[u8]) -> Result<Vec<u8>, GzipError> {
        let mut out = Vec::new();
        let mut reader = MultiGzDecoder::new(bytes).take(self.0 as u64 + 1);
        reader.read_to_end(&mut out).map_err(|_| GzipError::Damaged)?;
        self.0 = self.0.checked_sub(out.len()).ok_or(GzipError::TooLong)?;
        Ok(out)
    }
}
