//! What is made once from a snapshot's site: expanded token keys and the document signer.
//!
//! Both are costly to make and cheap to use, and change only when the operator rotates keys.

use std::sync::Arc;

use mezame_model::snapshot::Site;
use mezame_protocol::{Signer, SignerError, TokenKeyError, TokenKeys};

/// Why a site can't be served from.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Its token keys can't be used.
    #[error("the site's token keys can't be used")]
    Tokens(#[source] TokenKeyError),
    /// Its signing key can't be used.
    #[error("the site's signing key can't be used")]
    Signer(#[source] SignerError),
}

/// A site's keys, ready for use.
pub struct SiteKeys {
    site: Arc<Site>,
    /// Seals and opens session tokens.
    pub tokens: TokenKeys,
    /// Signs instance-identity documents.
    pub signer: Signer,
}

impl SiteKeys {
    /// Expands the keys.
    pub fn new(site: &Arc<Site>) -> Result<Self, SiteError> {
        Ok(Self {
            site: Arc::clone(site),
            tokens: TokenKeys::new(&site.token_keys).map_err(SiteError::Tokens)?,
            signer: Signer::new(&site.signing_key, Box::new(ring::rand::SystemRandom::new()))
                .map_err(SiteError::Signer)?,
        })
    }

    /// Whether they were made from this very site.
    pub fn are_of(&self, site: &Arc<Site>) -> bool {
        Arc::ptr_eq(&self.site, site) || self.site == *site
    }
}

impl std::fmt::Debug for SiteKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SiteKeys(..)")
    }
}
