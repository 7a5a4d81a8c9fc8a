//! The calls for single files of an image.

use std::{ffi::OsStr, fmt::Write, os::unix::ffi::OsStrExt};

use hyper::Method;
use mezame_model::{
    ProjectName,
    api::image_files::{ImageDisk, ImageFiles},
};

use super::{Client, ClientError, images::Content};

/// Where on an image's disk.
#[derive(Debug, Clone, Copy)]
pub struct Spot<'a> {
    /// The project that sees the image.
    pub project: &'a ProjectName,
    /// The image's id.
    pub image: &'a str,
    /// The partition's number.
    pub partition: Option<u32>,
    /// The path.
    pub path: &'a OsStr,
}

impl Client {
    /// How an image's disk is divided.
    pub async fn image_partitions(
        &self,
        project: &ProjectName,
        image: &str,
    ) -> Result<ImageDisk, ClientError> {
        self.get(&format!("/v1/projects/{project}/images/{image}/partitions")).await
    }

    /// What is in a folder, of the names after these bytes.
    pub async fn image_files(
        &self,
        spot: Spot<'_>,
        after: Option<&[u8]>,
    ) -> Result<ImageFiles, ClientError> {
        let after = after.map(|after| format!("&after={}", encoded(after))).unwrap_or_default();
        self.get(&format!("{}{after}", path(spot, ""))).await
    }

    /// The bytes of a file (`content`), or a tar stream of what is there (`tar`).
    pub async fn image_file(&self, spot: Spot<'_>, what: &str) -> Result<Content, ClientError> {
        let request = self.request(Method::GET, &path(spot, &format!("/{what}")), None, None)?;
        self.content(request, 0).await
    }
}

fn path(spot: Spot<'_>, what: &str) -> String {
    let Spot { project, image, partition, path } = spot;
    let partition = partition.map(|number| format!("&partition={number}")).unwrap_or_default();
    let path = encoded(path.as_bytes());
    format!("/v1/projects/{project}/images/{image}/files{what}?path={path}{partition}")
}

/// Any bytes in a query (RFC 3986, section 2.1).
fn encoded(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut text, byte| {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~/".contains(byte);
        if is_plain {
            text.push(char::from(*byte));
        } else {
            // A string takes all that is written to it.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_has_a_meaning_for_is_encoded() {
        assert_eq!(encoded(b"/a b&c=%\xff+.~"), "/a%20b%26c%3D%25%FF%2B.~");
    }
}
