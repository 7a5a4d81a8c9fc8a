//! `user_data_file` and `vendor_data_file`: user-data that stands in a file beside its seed.
//!
//! The control plane takes bytes and opens no file of an operator's, so the file is read here and
//! sent as `user_data` where it is text, else as `user_data_base64`. A path is relative to the
//! seed's own folder, so that a seed can be applied from anywhere.

use std::{io, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::UserData;
use serde_json::Value;

use super::{
    TextFault,
    envelope::Item,
    node::{Content, Entry},
};

/// Reads a file, at most the given number of bytes of it.
pub trait ReadFile {
    /// The first `limit` bytes of the file at `path`, all of it if it is shorter.
    fn read_file(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;
}

/// Replaces an item's file fields by the files' contents; all that is wrong at once.
pub fn attach(item: &mut Item, folder: &Path, files: &dyn ReadFile) -> Vec<TextFault> {
    let root = std::rc::Rc::clone(&item.document.root);
    let mut faults = Vec::new();
    for name in ["user_data", "vendor_data"] {
        let Some(entry) = root.field(&format!("{name}_file")) else { continue };
        let others = [name.to_owned(), format!("{name}_base64")];
        if let Some(other) = others.iter().find(|other| root.field(other).is_some()) {
            faults.push(TextFault {
                place: entry.place,
                message: format!("both {} and {other} are given", entry.key),
                mend: "keep one of the two".into(),
            });
            continue;
        }
        match contents(entry, folder, files) {
            Ok(bytes) => {
                if let Value::Object(fields) = &mut item.value {
                    fields.remove(&entry.key);
                    match String::from_utf8(bytes) {
                        Ok(text) => fields.insert(name.into(), Value::String(text)),
                        Err(error) => fields.insert(
                            format!("{name}_base64"),
                            Value::String(STANDARD.encode(error.as_bytes())),
                        ),
                    };
                }
            }
            Err(fault) => faults.push(fault),
        }
    }
    faults
}

fn contents(entry: &Entry, folder: &Path, files: &dyn ReadFile) -> Result<Vec<u8>, TextFault> {
    let place = entry.node.place;
    let Content::Scalar(Value::String(path)) = &entry.node.content else {
        return Err(TextFault {
            place: entry.place,
            message: format!("{} must be a path", entry.key),
            mend: "write the path of a file, relative to this seed's folder".into(),
        });
    };
    let path = folder.join(path);
    let bytes = files.read_file(&path, UserData::MAX + 1).map_err(|error| TextFault {
        place,
        message: format!("{} can't be read: {error}", path.display()),
        mend: "write the path of a file, relative to this seed's folder".into(),
    })?;
    if bytes.len() > UserData::MAX {
        return Err(TextFault {
            place,
            message: format!("{} has more than {} bytes", path.display(), UserData::MAX),
            mend: "make it shorter: gzip it, or let it fetch the rest".into(),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::seed::envelope::{DefaultProject, open};

    struct Fake;

    impl ReadFile for Fake {
        fn read_file(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
            match path.to_str() {
                Some("seeds/boot.sh") => Ok(b"#!/bin/sh\n".to_vec()),
                Some("seeds/boot.gz") => Ok(vec![0x1f, 0x8b, 0xff]),
                Some("/big") => Ok(vec![b'x'; limit]),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn attached(fields: &str) -> (Value, Vec<String>) {
        let text = format!("kind: Instance\n{fields}");
        let document = crate::seed::read(text.as_bytes()).documents.remove(0);
        let mut item = open(document, &DefaultProject::default()).unwrap();
        let faults = attach(&mut item, Path::new("seeds"), &Fake);
        let faults = faults.iter().map(|f| format!("{}: {}", f.place.line, f.message)).collect();
        (item.value, faults)
    }

    #[test]
    fn a_text_becomes_user_data_and_anything_else_base64() {
        assert_eq!(
            attached("user_data_file: boot.sh\nvendor_data_file: boot.gz\n"),
            (
                json!({"kind": "Instance", "user_data": "#!/bin/sh\n", "vendor_data_base64": "H4v/"}),
                vec![]
            )
        );
    }

    #[test]
    fn every_fault_of_a_file_field_stands_at_its_place() {
        assert_eq!(
            attached("user_data_file: /big\nvendor_data_file: none\n").1,
            [
                "2: /big has more than 1048576 bytes",
                "3: seeds/none can't be read: entity not found"
            ]
        );
        assert_eq!(
            attached("user_data: x\nuser_data_file: boot.sh\nvendor_data_file: [x]\n").1,
            [
                "3: both user_data_file and user_data are given",
                "4: vendor_data_file must be a path"
            ]
        );
    }
}
