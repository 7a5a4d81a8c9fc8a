//! The operator API over HTTP: paths, methods, preconditions, and one form for every failure.
//!
//! The wire types and the table of calls are `mezame_model::api`. The tables of routes, here and in
//! [`volume_routes`], make both the router and the OpenAPI document, so that neither has what the
//! other lacks. Reading needs a reader's rights, everything else a writer's. No answer carries a
//! secret but an instance's disk and an image's content, which therefore need a writer's rights too.

mod archive;
mod backups;
mod changes;
mod disk;
mod events;
mod flushes;
mod image_files;
mod images;
mod jobs;
mod leftovers;
mod names;
mod openapi;
mod paging;
mod password_resets;
mod precondition;
mod problem;
mod reading;
mod restores;
mod schedules;
mod volume_keys;
mod volume_routes;
mod volumes;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use mezame_model::api::Kind;
use tokio::sync::watch;

use crate::{
    access::{Caller, Role},
    control::Control,
    images::{Images, part::Part},
    schedules::Schedules,
    volumes::{Volumes, part::VolumePart},
};
use problem::Failure;
use volume_routes::VOLUME_ROUTES;

/// What the handlers share.
pub(crate) struct Api {
    control: Arc<Control>,
    /// None where the site has no image archive.
    images: Option<Arc<Part>>,
    /// None where the site has no volumes.
    volumes: Option<Arc<VolumePart>>,
    /// There where volumes are.
    schedules: Option<Arc<Schedules>>,
    apply_bytes: usize,
    /// True once the control plane is to end: streams end then.
    ending: watch::Receiver<bool>,
}

impl Api {
    async fn images(&self) -> Result<Arc<Images>, Failure> {
        Ok(self.images.as_ref().ok_or(Failure::NoArchive)?.images().await?)
    }

    async fn volumes(&self) -> Result<Arc<Volumes>, Failure> {
        Ok(self.volumes.as_ref().ok_or(Failure::NoVolumes)?.volumes().await?)
    }

    fn schedules(&self) -> Result<&Arc<Schedules>, Failure> {
        self.schedules.as_ref().ok_or(Failure::NoVolumes)
    }
}

/// The longest body of a PUT: user-data and vendor-data of 1 MiB each, in the JSON that needs the
/// most bytes for them (six a byte), and room for the rest.
const PUT_BYTES: usize = 16 << 20;

/// One call.
struct Route {
    method: Method,
    path: &'static str,
    /// Its name in the OpenAPI document, unique.
    operation: &'static str,
    summary: &'static str,
    handler: fn() -> MethodRouter<Arc<Api>>,
}

macro_rules! route {
    ($method:ident $path:literal $operation:literal $summary:literal => $handler:expr) => {
        Route {
            method: Method::$method,
            path: $path,
            operation: $operation,
            summary: $summary,
            handler: || on(MethodFilter::$method, $handler),
        }
    };
}

use route;

macro_rules! kind_routes {
    ($kind:ident, $one:literal, $many:literal) => {
        [
            Route {
                method: Method::GET,
                path: concat!("/v1/projects/{project}/", $many),
                operation: concat!("list-", $many),
                summary: concat!("The project's ", $many, ", sorted by name"),
                handler: || {
                    on(MethodFilter::GET, |api, names, query| {
                        reading::list(Kind::$kind, api, names, query)
                    })
                },
            },
            Route {
                method: Method::GET,
                path: concat!("/v1/projects/{project}/", $many, "/{name}"),
                operation: concat!("read-", $one),
                summary: concat!("One ", $one),
                handler: || {
                    on(MethodFilter::GET, |api, names, headers| {
                        reading::one(Kind::$kind, api, names, headers)
                    })
                },
            },
            Route {
                method: Method::PUT,
                path: concat!("/v1/projects/{project}/", $many, "/{name}"),
                operation: concat!("write-", $one),
                summary: concat!("Make or replace a ", $one),
                handler: || {
                    on(MethodFilter::PUT, |api, names, request| {
                        changes::put(Kind::$kind, api, names, request)
                    })
                },
            },
            Route {
                method: Method::DELETE,
                path: concat!("/v1/projects/{project}/", $many, "/{name}"),
                operation: concat!("delete-", $one),
                summary: concat!("Delete a ", $one, " that nothing refers to"),
                handler: || {
                    on(MethodFilter::DELETE, |api, names, headers| {
                        changes::delete(Kind::$kind, api, names, headers)
                    })
                },
            },
        ]
    };
}

/// The calls that are the same for every kind inside a project.
static KIND_ROUTES: [[Route; 4]; 3] = [
    kind_routes!(Network, "network", "networks"),
    kind_routes!(Port, "port", "ports"),
    kind_routes!(Instance, "instance", "instances"),
];

/// All other calls.
static OTHER_ROUTES: [Route; 26] = [
    route!(GET "/v1/projects" "list-projects" "All projects, sorted by name"
        => reading::projects),
    route!(GET "/v1/projects/{project}" "read-project" "One project" => reading::project),
    route!(PUT "/v1/projects/{project}" "write-project" "Make or replace a project"
        => changes::put_project),
    route!(DELETE "/v1/projects/{project}" "delete-project" "Delete an empty project"
        => changes::delete_project),
    route!(POST "/v1/apply" "apply" "Apply documents of any kinds, all or none" => changes::apply),
    route!(PUT "/v1/projects/{project}/ports/{name}/device" "attach-device"
        "Say which tap a port has on its hypervisor" => changes::attach),
    route!(DELETE "/v1/projects/{project}/ports/{name}/device" "detach-device"
        "Give a port back the tap name made of its id" => changes::detach),
    route!(GET "/v1/projects/{project}/instances/{name}/reports" "list-reports"
        "What the instance's agent reported, newest first" => reading::reports),
    route!(GET "/v1/projects/{project}/instances/{name}/passwords" "list-passwords"
        "Passwords that the guest made, sealed to their owners' keys" => reading::passwords),
    route!(POST "/v1/projects/{project}/instances/{name}/passwords/{user}/reset" "reset-password"
        "Have the guest make another password of a user's" => password_resets::reset),
    route!(GET "/v1/projects/{project}/instances/{name}/disk" "read-disk"
        "What the guest is told, as the image of a disk; holds secrets, so it needs the role 'write'"
        => disk::read),
    route!(GET "/v1/projects/{project}/instances/{name}/volume-keys" "list-volume-keys"
        "The keys of the instance's encrypted volumes, without what is secret" => volume_keys::list),
    route!(POST "/v1/projects/{project}/instances/{name}/volume-keys" "create-volume-key"
        "Give the instance the key of an encrypted volume" => volume_keys::create),
    route!(POST "/v1/projects/{project}/instances/{name}/volume-keys/{key}/rotate"
        "rotate-volume-key" "Add the next version of a volume's key" => volume_keys::rotate),
    route!(POST "/v1/projects/{project}/instances/{name}/volume-keys/{key}/revoke"
        "revoke-volume-key" "Give a volume's key out no more, or forget one of its versions"
        => volume_keys::revoke),
    route!(POST "/v1/projects/{project}/instances/{name}/volume-keys/{key}/restore"
        "restore-volume-key" "Give a volume's revoked key out again" => volume_keys::restore),
    route!(DELETE "/v1/projects/{project}/instances/{name}/volume-keys/{key}"
        "destroy-volume-key" "Forget a volume's key for good" => volume_keys::destroy),
    route!(GET "/v1/projects/{project}/instances/{name}/key-requests" "list-key-requests"
        "What the instance's guest asked for of its volumes' keys, newest first"
        => volume_keys::requests),
    route!(GET "/v1/events" "watch" "Changes as they happen, one a line" => events::stream),
    route!(POST "/v1/keys/sealing/rotate" "rotate-sealing-key"
        "Make a new key for the database, and seal everything with it" => changes::rotate_sealing),
    route!(POST "/v1/keys/tokens/rotate" "rotate-token-key"
        "Make a new key for guests' session tokens" => changes::rotate_tokens),
    route!(GET "/v1/identity-certificate" "identity-certificate"
        "The certificate that instance-identity documents are verified with" => reading::certificate),
    route!(GET "/v1/openapi.json" "openapi" "This document" => openapi::serve),
    route!(GET "/v1/version" "version" "The provisioner's version and its generation"
        => reading::version),
    route!(GET "/healthz" "health" "Whether the control plane answers" => reading::health),
    route!(GET "/v1/whoami" "whoami" "Who the caller is taken for, and what it may do"
        => reading::whoami),
];

/// The calls about images, and about the archive that they are in.
static IMAGE_ROUTES: [Route; 30] = [
    route!(GET "/v1/projects/{project}/images" "list-images"
        "The images that the project sees, its own and those shared with it" => images::list),
    route!(POST "/v1/projects/{project}/images" "import-image"
        "Begin an import, which then waits for its file" => images::import),
    route!(GET "/v1/projects/{project}/images/{image}" "show-image" "One image" => images::show),
    route!(DELETE "/v1/projects/{project}/images/{image}" "remove-image"
        "Delete one of the project's own images" => images::remove),
    route!(GET "/v1/projects/{project}/images/{image}/content" "export-image"
        "The image as a raw disk; holds secrets, so it needs the role 'write'" => images::export),
    route!(GET "/v1/projects/{project}/images/{image}/partitions" "look-at-partitions"
        "How the image's disk is divided; needs the role 'write', as all that is on it does"
        => image_files::partitions),
    route!(GET "/v1/projects/{project}/images/{image}/files" "look-into-image"
        "What is in a folder of the image's disk; needs the role 'write'" => image_files::list),
    route!(GET "/v1/projects/{project}/images/{image}/files/content" "copy-image-file"
        "A file of the image's disk; needs the role 'write'" => image_files::content),
    route!(GET "/v1/projects/{project}/images/{image}/files/tar" "copy-image-tar"
        "A file or a folder of the image's disk as a tar stream; needs the role 'write'"
        => image_files::tar),
    route!(POST "/v1/projects/{project}/images/{image}/verify" "verify-image"
        "Have all of an image read" => images::verify),
    route!(PUT "/v1/projects/{project}/images/{image}/shares" "share-image-with-all"
        "Let all projects see an image" => images::share_with_all),
    route!(DELETE "/v1/projects/{project}/images/{image}/shares" "unshare-image-with-all"
        "Let an image be seen only by whom it is shared with by name" => images::unshare_with_all),
    route!(PUT "/v1/projects/{project}/images/{image}/shares/{with}" "share-image"
        "Let another project see an image" => images::share),
    route!(DELETE "/v1/projects/{project}/images/{image}/shares/{with}" "unshare-image"
        "Take that back" => images::unshare),
    route!(GET "/v1/projects/{project}/jobs" "list-jobs"
        "The project's jobs, newest first" => jobs::list),
    route!(GET "/v1/projects/{project}/jobs/{job}" "show-job" "One job"
        => jobs::show),
    route!(PUT "/v1/projects/{project}/jobs/{job}/content" "upload-image"
        "Send the file of an import; what follows goes on without the sender"
        => jobs::upload),
    route!(POST "/v1/projects/{project}/jobs/{job}/cancel" "cancel-job"
        "End a job as soon as it can be" => jobs::cancel),
    route!(GET "/v1/archive" "show-archive" "How much is in the image archive" => archive::status),
    route!(POST "/v1/archive" "create-archive" "Make the image archive at its place"
        => archive::create),
    route!(POST "/v1/archive/collect" "collect-garbage" "Have what no image needs deleted"
        => archive::collect),
    route!(POST "/v1/archive/verify" "verify-archive" "Have all packs read" => archive::verify),
    route!(GET "/v1/jobs" "list-all-jobs" "All jobs, newest first"
        => jobs::list_all),
    route!(GET "/v1/jobs/{job}" "show-any-job" "One job of all"
        => jobs::show_any),
    route!(POST "/v1/jobs/{job}/cancel" "cancel-any-job"
        "End any job as soon as it can be" => jobs::cancel_any),
    route!(GET "/v1/archive/images" "list-archive-images" "All projects' images"
        => archive::images),
    route!(DELETE "/v1/archive/images/{image}" "forget-image"
        "Delete an image without opening it: a damaged one, or one whose key is gone"
        => archive::forget),
    route!(GET "/v1/archive/quarantine" "list-quarantine" "The packs that are in quarantine"
        => archive::quarantined),
    route!(PUT "/v1/archive/quarantine/{pack}" "quarantine-pack"
        "Keep new images from counting on a pack" => archive::quarantine),
    route!(DELETE "/v1/archive/quarantine/{pack}" "release-pack" "Take that back"
        => archive::release),
];

/// All calls.
fn routes() -> impl Iterator<Item = &'static Route> {
    OTHER_ROUTES
        .iter()
        .chain(&IMAGE_ROUTES)
        .chain(&VOLUME_ROUTES)
        .chain(KIND_ROUTES.iter().flatten())
}

/// The router of all calls, for callers that are in the requests' extensions.
pub(crate) fn router(
    control: Arc<Control>,
    images: Option<Arc<Part>>,
    volumes: Option<Arc<VolumePart>>,
    schedules: Option<Arc<Schedules>>,
    apply_bytes: usize,
    ending: watch::Receiver<bool>,
) -> Router {
    let mut router = Router::new();
    for route in routes() {
        router = router.route(route.path, (route.handler)());
    }
    router
        .fallback(|| async { Failure::NoSuchPath })
        .method_not_allowed_fallback(|| async { Failure::MethodNotAllowed })
        .layer(middleware::from_fn(guard))
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::new(Api { control, images, volumes, schedules, apply_bytes, ending }))
}

/// Refuses callers without the rights, and notes who changed what.
async fn guard(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let reads = matches!(method, Method::GET | Method::HEAD);
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return finish(Failure::Unauthorized.into_response());
    };
    if !reads && caller.role != Role::Write {
        tracing::warn!(caller = %caller.name, %method, %path, "refused: the caller may only read");
        return finish(Failure::Forbidden.into_response());
    }
    if !reads {
        // Who goes before the answer has what was begun done all the same.
        tracing::info!(caller = %caller.name, %method, %path, "asked");
    }
    let response = next.run(request).await;
    let status = response.status().as_u16();
    if reads {
        tracing::debug!(caller = %caller.name, %method, %path, status, "answered");
    } else {
        tracing::info!(caller = %caller.name, %method, %path, status, "answered");
    }
    finish(response)
}

/// What every answer has: nothing of an operator's API belongs into a cache.
fn finish(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

/// A JSON answer.
fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => Failure::Internal.into_response(),
    }
}

type Shared = State<Arc<Api>>;

#[cfg(test)]
mod tests;
