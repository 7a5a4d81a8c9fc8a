//! The table of the calls about volumes, backups and schedules, in the form of [`super::routes`]'s others.
//!
//! Who answers them is in the modules that it names.

use axum::{
    http::Method,
    routing::{MethodFilter, on},
};

use super::{Route, backups, flushes, leftovers, restores, route, schedules, volumes};

/// Those calls.
pub(super) static VOLUME_ROUTES: [Route; 33] = [
    route!(GET "/v1/pools" "list-pools" "The pools that volumes lie in" => volumes::pools),
    route!(POST "/v1/pools/{pool}" "create-pool" "Make a pool at its place" => volumes::make_pool),
    route!(GET "/v1/masters" "list-masters" "What volumes are clones of" => volumes::masters),
    route!(DELETE "/v1/masters/{master}" "remove-master"
        "Delete a master that no volume stands on" => volumes::remove_master),
    route!(GET "/v1/leftovers" "list-leftovers" "Old contents of volumes, which restores have kept"
        => leftovers::list),
    route!(DELETE "/v1/leftovers/{pool}/{file}" "remove-leftover" "Delete one" => leftovers::remove),
    route!(GET "/v1/projects/{project}/volumes" "list-volumes"
        "The project's volumes, sorted by id" => volumes::list),
    route!(POST "/v1/projects/{project}/volumes" "create-volume"
        "Have a volume made, of an image, a backup or zeros" => volumes::create),
    route!(GET "/v1/projects/{project}/volumes/{volume}" "show-volume" "One volume"
        => volumes::show),
    route!(DELETE "/v1/projects/{project}/volumes/{volume}" "erase-volume"
        "Delete a volume that no QEMU has open, and forget its keys" => volumes::erase),
    route!(POST "/v1/projects/{project}/volumes/{volume}/open" "open-volume"
        "Put back what a hard stop took, and say what QEMU is to be started with"
        => volumes::open),
    route!(PUT "/v1/projects/{project}/volumes/{volume}/limits" "limit-volume"
        "Set what the volume's guest may do" => volumes::limit),
    route!(PUT "/v1/projects/{project}/volumes/{volume}/flush" "flush-volume"
        "Have a running guest's volume flushed from now on, as its class says" => flushes::begin),
    route!(DELETE "/v1/projects/{project}/volumes/{volume}/flush" "end-volume-flush"
        "Have it flushed no more" => flushes::end),
    route!(POST "/v1/projects/{project}/volumes/{volume}/rotate-key" "rekey-volume"
        "Have another key open the volume, and no other" => volumes::rotate_key),
    route!(POST "/v1/projects/{project}/volumes/{volume}/resize" "resize-volume"
        "Have the volume made longer, while no guest runs on it" => volumes::resize),
    route!(POST "/v1/projects/{project}/volumes/{volume}/hydrate" "hydrate-volume"
        "Have a running guest's volume copied into a plain one" => volumes::hydrate),
    route!(POST "/v1/projects/{project}/volumes/{volume}/hydration/pause" "pause-hydration"
        "Have it rest" => volumes::pause),
    route!(POST "/v1/projects/{project}/volumes/{volume}/hydration/resume" "resume-hydration"
        "Have it go on" => volumes::resume),
    route!(POST "/v1/projects/{project}/volumes/{volume}/restore" "restore-volume"
        "Have what a volume that no QEMU has open holds replaced by an image" => restores::restore),
    route!(DELETE "/v1/projects/{project}/volumes/{volume}/restore" "abandon-restore"
        "Give up a restore that was cut short" => restores::give_up),
    route!(POST "/v1/projects/{project}/volumes/{volume}/capture" "capture-volume"
        "Have an image made of what a volume holds" => restores::capture),
    route!(GET "/v1/projects/{project}/backups" "list-backups"
        "The project's backups, newest first" => backups::list),
    route!(POST "/v1/projects/{project}/backups" "back-up"
        "Have volumes of a running guest backed up, at one point in time" => backups::back_up),
    route!(POST "/v1/projects/{project}/backups/prune" "prune-backups"
        "Delete the backups of a volume that are not to be kept" => backups::prune),
    route!(GET "/v1/projects/{project}/backups/{image}" "show-backup" "One backup"
        => backups::show),
    route!(DELETE "/v1/projects/{project}/backups/{image}" "remove-backup"
        "Delete a backup; those after it stand by themselves" => backups::remove),
    route!(GET "/v1/projects/{project}/backup-schedules" "list-schedules"
        "The project's schedules of backups, sorted by name" => schedules::list),
    route!(GET "/v1/projects/{project}/backup-schedules/{schedule}" "show-schedule"
        "One schedule, and what became of it" => schedules::show),
    route!(PUT "/v1/projects/{project}/backup-schedules/{schedule}" "set-schedule"
        "Make or replace a schedule" => schedules::put),
    route!(DELETE "/v1/projects/{project}/backup-schedules/{schedule}" "remove-schedule"
        "Delete a schedule; its backups stay" => schedules::remove),
    route!(POST "/v1/projects/{project}/backup-schedules/{schedule}/pause" "pause-schedule"
        "Have a schedule rest" => schedules::pause),
    route!(POST "/v1/projects/{project}/backup-schedules/{schedule}/resume" "resume-schedule"
        "Have it go on from now, without what it missed" => schedules::resume),
];
