//! Certificates that the system trusts: those of the local machine's store `Root` (wincrypt.h;
//! Microsoft, "System Store Locations").
//!
//! Which of them are the agent's is noted in the registry, by the thumbprints that Windows shows
//! (SHA-1 of the certificate), before they are put in: what was there without a note is the image's
//! and stays. The notes outlive `seal`, as the certificates do, so that a clone takes back what its
//! own record does not name. A rehearsal has a store of its own.

use std::{collections::BTreeSet, ffi::c_void, io, ptr};

use mezame_model::Certificate;
use windows_sys::Win32::Security::Cryptography::{
    CERT_CONTEXT, CERT_FIND_SHA1_HASH, CERT_STORE_ADD_USE_EXISTING, CERT_STORE_CTRL_COMMIT,
    CERT_STORE_PROV_SYSTEM_W, CERT_SYSTEM_STORE_LOCAL_MACHINE, CRYPT_INTEGER_BLOB,
    CertAddEncodedCertificateToStore, CertCloseStore, CertControlStore,
    CertDeleteCertificateFromStore, CertFindCertificateInStore, CertFreeCertificateContext,
    CertOpenStore, HCERTSTORE, X509_ASN_ENCODING,
};

use super::{
    registry::Registry,
    wide::{succeeded, wide},
};
use crate::{
    platform::{Change, PlatformError},
    thumbprint::Thumbprint,
};

/// Where the notes are.
const NOTES: &str = r"SOFTWARE\Mezame\Certificates";
/// The store of those that everybody trusts.
const ROOT: &str = "Root";
/// A rehearsal's.
const REHEARSAL: &str = "MezameRehearsal";

/// How often a certificate is deleted that is still there afterwards.
const ATTEMPTS: u32 = 5;

/// The store, and the notes on what the agent has put into it.
pub(super) struct Certificates<'a> {
    registry: &'a Registry,
    store: &'static str,
}

pub(super) fn error(source: io::Error) -> PlatformError {
    PlatformError::File { path: r"LocalMachine\Root".into(), source }
}

impl<'a> Certificates<'a> {
    /// Of the system, or of a rehearsal.
    pub(super) fn new(registry: &'a Registry, live: bool) -> Self {
        Self { registry, store: if live { ROOT } else { REHEARSAL } }
    }

    /// Whether the agent has given it any.
    pub(super) fn any(&self) -> bool {
        self.noted().is_ok_and(|noted| !noted.is_empty())
    }

    /// Has the system trust these, and none that it was given before.
    pub(super) fn trust(&self, certificates: &[Certificate]) -> io::Result<Change> {
        let noted = self.noted()?;
        if certificates.is_empty() && noted.is_empty() {
            return Ok(Change::Same);
        }
        let notes = self.registry.create(NOTES, false)?;
        let wanted: Vec<_> = certificates
            .iter()
            .map(|certificate| {
                let der = certificate.der();
                (Thumbprint::of(&der), der)
            })
            .collect();
        let named: BTreeSet<String> =
            wanted.iter().map(|(print, _)| print.as_str().to_owned()).collect();
        // Each for itself: one that can't be taken out or put in must not keep another in that is
        // to go, nor out that is to be trusted.
        let taken_out = Change::of_all(noted.difference(&named).map(|text| {
            if let Some(print) = Thumbprint::parse(text) {
                self.distrust(&print)?;
            }
            notes.delete_value(text)?;
            Ok(Change::Changed)
        }));
        let store = Store::open(self.store)?;
        let put_in = Change::of_all(wanted.iter().map(|(print, der)| {
            if store.has(print) {
                return Ok(Change::Same);
            }
            notes.set_text(print.as_str(), self.store)?;
            notes.flush()?;
            store.add(der)?;
            Ok(Change::Changed)
        }));
        Change::of_all([taken_out, put_in])
    }

    /// Takes one out of the store. That it is out shows only in a store that is opened anew: what
    /// is deleted is written when the store is closed, and that it was not is told to nobody.
    fn distrust(&self, print: &Thumbprint) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            let store = Store::open(self.store)?;
            if !store.has(print) {
                return Ok(());
            }
            store.remove(print)?;
        }
        if Store::open(self.store)?.has(print) {
            return Err(io::Error::other("a certificate that was deleted is still in the store"));
        }
        Ok(())
    }

    fn noted(&self) -> io::Result<BTreeSet<String>> {
        match self.registry.open(NOTES)? {
            Some(notes) => Ok(notes.names()?.into_iter().collect()),
            None => Ok(BTreeSet::new()),
        }
    }
}

/// An open store.
struct Store(HCERTSTORE);

impl Store {
    fn open(name: &str) -> io::Result<Self> {
        let name = wide(name);
        // SAFETY: this provider takes a text that ends with a zero.
        let store = unsafe {
            CertOpenStore(
                CERT_STORE_PROV_SYSTEM_W,
                0,
                0,
                CERT_SYSTEM_STORE_LOCAL_MACHINE,
                name.as_ptr().cast::<c_void>(),
            )
        };
        if store.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(store)) }
    }

    /// A certificate of the store's; null where it has none of that thumbprint.
    fn find(&self, print: &Thumbprint) -> *mut CERT_CONTEXT {
        let mut bytes = print.bytes();
        let blob = CRYPT_INTEGER_BLOB { cbData: 20, pbData: bytes.as_mut_ptr() };
        // SAFETY: the blob has as many bytes as it says, and outlives the call.
        unsafe {
            CertFindCertificateInStore(
                self.0,
                X509_ASN_ENCODING,
                0,
                CERT_FIND_SHA1_HASH,
                ptr::from_ref(&blob).cast(),
                ptr::null(),
            )
        }
    }

    fn has(&self, print: &Thumbprint) -> bool {
        let found = self.find(print);
        if found.is_null() {
            return false;
        }
        // SAFETY: it was just found, and is let go of once.
        unsafe { CertFreeCertificateContext(found) };
        true
    }

    fn add(&self, der: &[u8]) -> io::Result<()> {
        let length = u32::try_from(der.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the bytes are as many as is said; no context is asked for.
        succeeded(unsafe {
            CertAddEncodedCertificateToStore(
                self.0,
                X509_ASN_ENCODING,
                der.as_ptr(),
                length,
                CERT_STORE_ADD_USE_EXISTING,
                ptr::null_mut(),
            )
        })
    }

    /// That there is none is as wanted.
    fn remove(&self, print: &Thumbprint) -> io::Result<()> {
        let found = self.find(print);
        if found.is_null() {
            return Ok(());
        }
        // SAFETY: it was just found; this call lets go of it, however it ends.
        succeeded(unsafe { CertDeleteCertificateFromStore(found) })?;
        // Not every kind of store knows of this, and closing it does the same.
        // SAFETY: the store is open, and this wants nothing besides.
        unsafe { CertControlStore(self.0, 0, CERT_STORE_CTRL_COMMIT, ptr::null()) };
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: it was opened, and is closed once.
        unsafe { CertCloseStore(self.0, 0) };
    }
}
