//! Backups of real volumes that no QEMU has open, compared byte for byte.

use std::collections::BTreeMap;

use super::*;
use crate::{
    archive::{Imported, Unwatched},
    backup::pull::{self, Exceptions},
    clone::InstantClone,
    encryption::KeyNumber,
    environment::SystemEnvironment,
    stopped::Stopped,
    testing::{
        first_difference, ids, keys, master, open, pool,
        vault::{Vault, project_key},
    },
    volume::{Durability, HostCache},
};

fn of(clone: &InstantClone) -> Stopped<'_> {
    Stopped::Clone { clone, durability: Durability::default(), cache: HostCache::Direct }
}

fn saved(
    vault: &Vault,
    moment: Moment,
    held: Held,
    keys: &VolumeKeys,
    run: &Path,
) -> Result<Imported, StoppedBackupError> {
    let to = Destination {
        project: &vault.project,
        key: vault.key.as_ref(),
        name: "nightly".into(),
        labels: BTreeMap::from([("by".into(), "a test".into())]),
        exceptions: Exceptions::default(),
    };
    back_up(&vault.archive, &to, moment, held, keys, run, &Unwatched)
}

#[test]
fn volumes_that_no_guest_runs_on_are_backed_up_as_of_one_moment_and_none_is_opened_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let (vault, none, run) = (Vault::new(None), VolumeKeys::none(), directory.path());
    let (master, mut bytes) = master(run);
    let clones = master.clone_into(&pool(run), &ids(2)).unwrap();
    let volume = of(&clones[1]).volume().unwrap();
    let daemon = open(&volume, &none, run);
    daemon.open().unwrap().write(8192, &[3; 4096]).unwrap();
    let refused = Held::take(of(&clones[1]), &none, run).unwrap_err();
    assert!(
        refused.to_string().contains("recovering") || matches!(refused, StoppedError::InUse(_))
    );
    daemon.end().unwrap();
    let held: Vec<_> =
        clones.iter().map(|clone| Held::take(of(clone), &none, run).unwrap()).collect();
    let moment = Moment::now(&SystemEnvironment::new()).unwrap();
    let refused = crate::storage_daemon::StorageDaemon::start(&volume.blockdev(), run).unwrap_err();
    assert!(refused.to_string().contains("lock"), "{refused}");
    let images: Vec<_> =
        held.into_iter().map(|one| saved(&vault, moment, one, &none, run).unwrap().image).collect();
    assert_eq!(first_difference(&vault.restored(images[0].id), &bytes), None);
    bytes[8192..12288].fill(3);
    assert_eq!(first_difference(&vault.restored(images[1].id), &bytes), None);
    let labels: Vec<_> = images.iter().map(|it| &it.detail.as_ref().unwrap().labels).collect();
    for (labels, id) in labels.iter().zip(ids(2)) {
        assert_eq!(labels[pull::VOLUME], id.to_string());
        assert_eq!(labels[pull::CONSISTENCY], "stopped");
        assert_eq!(labels[pull::READ], "all: no guest ran on it");
        assert_eq!(labels["by"], "a test");
        assert!(!labels.contains_key(pull::ENCRYPTED));
    }
    assert_eq!(labels[0][pull::POINT], labels[1][pull::POINT]);
    assert_eq!(labels[0][pull::TAKEN], labels[1][pull::TAKEN]);
    // It is one of the volume's backups, as those of its running guest are.
    let known = pull::published(&vault.archive, &vault.project, None, &ids(2)[0]).unwrap();
    assert_eq!(known[0].image, images[0].id);
}

#[test]
fn an_encrypted_volume_is_backed_up_into_an_encrypted_project_alone() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, bytes) = master(run);
    let (keys, id) = (keys(1), ids(1).remove(0));
    let clone = master.clone_encrypted(&pool(run), &id, KeyNumber(1), &keys).unwrap();
    let moment = Moment::now(&SystemEnvironment::new()).unwrap();
    let hold = || Held::take(of(&clone), &keys, run).unwrap();
    let refused = saved(&Vault::new(None), moment, hold(), &keys, run).unwrap_err();
    assert!(matches!(refused, StoppedBackupError::WouldBeClear(_)), "{refused}");
    let sealed = Vault::new(Some(project_key()));
    let image = saved(&sealed, moment, hold(), &keys, run).unwrap().image;
    assert_eq!(image.detail.as_ref().unwrap().labels[pull::ENCRYPTED], "yes");
    assert_eq!(first_difference(&sealed.restored(image.id), &bytes), None);
}
