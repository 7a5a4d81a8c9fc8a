//! Keys and values below `HKEY_LOCAL_MACHINE` (winreg.h).
//!
//! In a rehearsal every path leads below a key of its own, as files do below the root.

use std::{io, ptr};

use windows_sys::Win32::{
    Foundation::{ERROR_FILE_NOT_FOUND, ERROR_MORE_DATA, ERROR_NO_MORE_ITEMS},
    System::Registry::{
        HKEY, HKEY_LOCAL_MACHINE, KEY_READ, KEY_WOW64_64KEY, KEY_WRITE, REG_DWORD,
        REG_OPTION_NON_VOLATILE, REG_OPTION_VOLATILE, REG_SZ, RRF_RT_REG_DWORD, RRF_RT_REG_SZ,
        RegCloseKey, RegCreateKeyExW, RegDeleteTreeW, RegDeleteValueW, RegEnumValueW, RegFlushKey,
        RegGetValueW, RegOpenKeyExW, RegSetValueExW,
    },
};

use super::wide::{checked, narrow, wide};

/// Where a rehearsal's keys are.
const REHEARSAL: &str = r"SOFTWARE\Mezame\Rehearsal";
/// Longer values are none of ours, in UTF-16 units.
const MAX_VALUE: usize = 16 * 1024;
/// The longest name of a value, with its zero (Microsoft, "Registry Element Size Limits").
const MAX_NAME: usize = 16_384;

/// The registry, or a rehearsal's part of it.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    base: String,
}

/// An open key.
#[derive(Debug)]
pub(super) struct Key(HKEY);

impl Registry {
    /// The system's own, or a rehearsal's.
    pub(super) fn new(live: bool) -> Self {
        Self { base: if live { String::new() } else { format!(r"{REHEARSAL}\") } }
    }

    /// Opens a key, making it where there is none. A volatile one goes with the next shutdown.
    pub(super) fn create(&self, path: &str, volatile: bool) -> io::Result<Key> {
        let path = wide(format!("{}{path}", self.base));
        let option = if volatile { REG_OPTION_VOLATILE } else { REG_OPTION_NON_VOLATILE };
        let access = KEY_READ | KEY_WRITE | KEY_WOW64_64KEY;
        let mut key: HKEY = ptr::null_mut();
        // SAFETY: the path ends with a zero, and the key goes into a place of its type.
        let status = unsafe {
            RegCreateKeyExW(
                HKEY_LOCAL_MACHINE,
                path.as_ptr(),
                0,
                ptr::null(),
                option,
                access,
                ptr::null(),
                &mut key,
                ptr::null_mut(),
            )
        };
        checked(status).map(|()| Key(key))
    }

    /// Opens a key that is there.
    pub(super) fn open(&self, path: &str) -> io::Result<Option<Key>> {
        let path = wide(format!("{}{path}", self.base));
        let access = KEY_READ | KEY_WRITE | KEY_WOW64_64KEY;
        let mut key: HKEY = ptr::null_mut();
        // SAFETY: as above.
        match unsafe { RegOpenKeyExW(HKEY_LOCAL_MACHINE, path.as_ptr(), 0, access, &mut key) } {
            ERROR_FILE_NOT_FOUND => Ok(None),
            status => checked(status).map(|()| Some(Key(key))),
        }
    }

    /// Deletes a key with all that is below it.
    pub(super) fn delete(&self, path: &str) -> io::Result<()> {
        let path = wide(format!("{}{path}", self.base));
        // SAFETY: the path ends with a zero.
        match unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, path.as_ptr()) } {
            ERROR_FILE_NOT_FOUND => Ok(()),
            status => checked(status),
        }
    }
}

impl Key {
    /// A text.
    pub(super) fn text(&self, name: &str) -> io::Result<Option<String>> {
        let mut buffer = vec![0_u16; MAX_VALUE];
        let mut bytes = (MAX_VALUE * 2) as u32;
        let name = wide(name);
        // SAFETY: the buffer is as long as is said.
        let status = unsafe {
            RegGetValueW(
                self.0,
                ptr::null(),
                name.as_ptr(),
                RRF_RT_REG_SZ,
                ptr::null_mut(),
                buffer.as_mut_ptr().cast(),
                &mut bytes,
            )
        };
        match status {
            ERROR_FILE_NOT_FOUND => Ok(None),
            status => checked(status).map(|()| Some(narrow(&buffer))),
        }
    }

    /// All texts, under whatever names.
    pub(super) fn texts(&self) -> io::Result<Vec<String>> {
        let mut texts = Vec::new();
        for name in self.names()? {
            // One that has gone meanwhile, or is no text.
            texts.extend(self.text(&name).ok().flatten());
        }
        Ok(texts)
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> io::Result<Option<u32>> {
        let (mut number, mut bytes) = (0_u32, 4_u32);
        let name = wide(name);
        // SAFETY: the place is as long as is said.
        let status = unsafe {
            RegGetValueW(
                self.0,
                ptr::null(),
                name.as_ptr(),
                RRF_RT_REG_DWORD,
                ptr::null_mut(),
                ptr::from_mut(&mut number).cast(),
                &mut bytes,
            )
        };
        match status {
            ERROR_FILE_NOT_FOUND => Ok(None),
            status => checked(status).map(|()| Some(number)),
        }
    }

    /// Sets a text.
    pub(super) fn set_text(&self, name: &str, text: &str) -> io::Result<()> {
        let bytes: Vec<u8> = wide(text).iter().flat_map(|unit| unit.to_le_bytes()).collect();
        self.set(name, REG_SZ, &bytes)
    }

    /// Sets a number.
    pub(super) fn set_number(&self, name: &str, number: u32) -> io::Result<()> {
        self.set(name, REG_DWORD, &number.to_le_bytes())
    }

    fn set(&self, name: &str, kind: u32, bytes: &[u8]) -> io::Result<()> {
        let name = wide(name);
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the bytes are as many as is said.
        checked(unsafe { RegSetValueExW(self.0, name.as_ptr(), 0, kind, bytes.as_ptr(), length) })
    }

    /// The names of all values.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for index in 0..=u32::MAX {
            let mut buffer = vec![0_u16; MAX_NAME];
            let mut length = MAX_NAME as u32;
            // SAFETY: the buffer is as long as is said; of the value nothing is asked for.
            let status = unsafe {
                RegEnumValueW(
                    self.0,
                    index,
                    buffer.as_mut_ptr(),
                    &mut length,
                    ptr::null(),
                    ptr::null_mut(),
                    ptr::null_mut(),
                    ptr::null_mut(),
                )
            };
            match status {
                ERROR_NO_MORE_ITEMS => break,
                ERROR_MORE_DATA => {}
                status => checked(status)?,
            }
            names.push(narrow(&buffer));
        }
        Ok(names)
    }

    /// Deletes a value.
    pub(super) fn delete_value(&self, name: &str) -> io::Result<()> {
        let name = wide(name);
        // SAFETY: the name ends with a zero.
        match unsafe { RegDeleteValueW(self.0, name.as_ptr()) } {
            ERROR_FILE_NOT_FOUND => Ok(()),
            status => checked(status),
        }
    }

    /// Puts it on the disk.
    pub(super) fn flush(&self) -> io::Result<()> {
        // SAFETY: the key is open.
        checked(unsafe { RegFlushKey(self.0) })
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: it was opened, and is closed once.
        unsafe { RegCloseKey(self.0) };
    }
}
