//! Calls for single files of an image.
//!
//! A file of a guest's disk is as secret as the disk, and so are its names: each of these wants a
//! writer's rights, though it changes nothing, and leaves a line in the audit trail.

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::Response,
};
use mezame_images::archive::ImageId;
use mezame_model::ProjectName;

use super::{Api, Shared, images::project_of, json, names::Names, problem::Failure};
use crate::{
    access::{Caller, Role},
    images::files::{Form, Spot},
};

/// Most names of an answer; a greater `limit` is cut to it.
const MOST_NAMES: usize = 10_000;

/// What a query says. Paths are bytes, so it is taken apart here.
struct Question {
    spot: Spot,
    after: Option<Vec<u8>>,
    limit: usize,
}

pub(super) async fn partitions(
    State(api): Shared,
    Extension(caller): Extension<Caller>,
    names: Names,
) -> Result<Response, Failure> {
    let (project, image) = allowed(&api, &caller, &names)?;
    let disk = api.images().await?.partitions(&project, image).await?;
    note(&caller, &project, image, "image-partitions", b"");
    Ok(json(StatusCode::OK, &disk))
}

pub(super) async fn list(
    State(api): Shared,
    Extension(caller): Extension<Caller>,
    names: Names,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let (project, image) = allowed(&api, &caller, &names)?;
    let Question { spot, after, limit } = question(query.as_deref())?;
    let (images, path) = (api.images().await?, spot.path.clone());
    let files = images.list_files(&project, image, spot, after, limit).await?;
    note(&caller, &project, image, "image-files", &path);
    Ok(json(StatusCode::OK, &files))
}

pub(super) async fn content(
    api: Shared,
    caller: Extension<Caller>,
    names: Names,
    query: RawQuery,
) -> Result<Response, Failure> {
    read_out(api, caller, names, query, Form::Content).await
}

pub(super) async fn tar(
    api: Shared,
    caller: Extension<Caller>,
    names: Names,
    query: RawQuery,
) -> Result<Response, Failure> {
    read_out(api, caller, names, query, Form::Tar).await
}

async fn read_out(
    State(api): Shared,
    Extension(caller): Extension<Caller>,
    names: Names,
    RawQuery(query): RawQuery,
    form: Form,
) -> Result<Response, Failure> {
    let (project, image) = allowed(&api, &caller, &names)?;
    let spot = question(query.as_deref())?.spot;
    let (images, path) = (api.images().await?, spot.path.clone());
    let (size, parts) = images.read_files(&project, image, spot, form).await?;
    let (what, kind) = match form {
        Form::Content => ("image-file", "application/octet-stream"),
        Form::Tar => ("image-tar", "application/x-tar"),
    };
    note(&caller, &project, image, what, &path);
    let next = |mut parts: crate::images::download::Parts| async {
        parts.recv().await.map(|part| (part, parts))
    };
    let body = Body::from_stream(futures_util::stream::unfold(parts, next));
    let response = Response::builder().header(header::CONTENT_TYPE, kind);
    let response = match size {
        Some(size) => response.header(header::CONTENT_LENGTH, size),
        None => response,
    };
    response.body(body).map_err(|_| Failure::Internal)
}

fn allowed(api: &Api, caller: &Caller, names: &Names) -> Result<(ProjectName, ImageId), Failure> {
    let (project, image) = (project_of(api, names)?, names.image()?);
    if caller.role != Role::Write {
        tracing::warn!(
            caller = %caller.name, %project, %image,
            "refused: an image holds secrets, and the caller may only read"
        );
        return Err(Failure::Forbidden);
    }
    Ok((project, image))
}

fn note(caller: &Caller, project: &ProjectName, image: ImageId, what: &str, path: &[u8]) {
    // What a guest has called its files is not to look like a line of ours.
    let path = path.escape_ascii();
    tracing::info!(
        target: "audit", caller = %caller.name, %project, %image, what, %path, "secret handed out"
    );
}

fn question(query: Option<&str>) -> Result<Question, Failure> {
    let spot = Spot { partition: None, path: b"/".to_vec() };
    let mut question = Question { spot, after: None, limit: MOST_NAMES };
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "path" => {
                let wanted = "bytes in the form of RFC 3986, section 2.1";
                let path = decoded(value).ok_or(Failure::Parameter { name: "path", wanted })?;
                question.spot.path = path;
            }
            "after" => {
                let wanted = "bytes in the form of RFC 3986, section 2.1";
                let after = decoded(value).ok_or(Failure::Parameter { name: "after", wanted })?;
                question.after = Some(after);
            }
            "partition" => {
                let number = value.parse();
                let wanted = "a partition's number";
                let number =
                    number.map_err(|_| Failure::Parameter { name: "partition", wanted })?;
                question.spot.partition = Some(number);
            }
            "limit" => match value.parse() {
                Ok(limit) if limit > 0 => question.limit = MOST_NAMES.min(limit),
                _ => return Err(Failure::Parameter { name: "limit", wanted: "a number from 1" }),
            },
            _ => {}
        }
    }
    Ok(question)
}

/// What percent-encoding stands for; None of what is none.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_any_bytes_and_half_an_escape_is_none() {
        assert_eq!(decoded("/a%20b+c%ff%2F"), Some(b"/a b c\xff/".to_vec()));
        for bad in ["%", "%4", "%zz", "a%é"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_question_without_words_is_about_the_root_of_the_only_file_system() {
        let asked = question(None).unwrap();
        assert_eq!((asked.spot.path.as_slice(), asked.spot.partition), (&b"/"[..], None));
        let asked = question(Some("path=/etc&partition=2&limit=99999999&after=a")).unwrap();
        assert_eq!((asked.spot.partition, asked.limit), (Some(2), MOST_NAMES));
        assert_eq!(asked.after.as_deref(), Some(&b"a"[..]));
        for bad in ["limit=0", "partition=x", "path=%0"] {
            assert!(question(Some(bad)).is_err(), "{bad}");
        }
    }
}
