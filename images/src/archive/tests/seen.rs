//! Who sees an image, and who says so.

use super::*;

#[test]
fn an_image_is_seen_by_its_project_and_those_that_it_is_shared_with() {
    let (memory, archive) = fresh();
    let id = import(&archive, &Disk::of(&[1])).image.id;
    let (web, other, third) = (project("web"), project("other"), project("third"));
    let sees = |who: &mezame_model::ProjectName| {
        let viewed = archive.view(id, Viewer::Project(who), &no_keys).is_ok();
        let listed = archive.list(Viewer::Project(who), &no_keys).unwrap().len() == 1;
        assert_eq!(viewed, listed);
        viewed
    };
    assert_eq!([sees(&web), sees(&other), sees(&third)], [true, false, false]);
    let own = archive.view(id, Viewer::Project(&web), &no_keys).unwrap();
    archive.share(&own, Some(&other)).unwrap();
    assert_eq!([sees(&web), sees(&other), sees(&third)], [true, true, false]);
    let lent = archive.view(id, Viewer::Project(&other), &no_keys).unwrap();
    for refused in [archive.delete(&lent), archive.share(&lent, None)] {
        assert!(matches!(refused, Err(ArchiveError::OtherProject { .. })), "{refused:?}");
    }
    archive.share(&own, None).unwrap();
    assert!(sees(&third));
    assert_eq!(archive.shares(&own).unwrap(), [None, Some(other.clone())]);
    assert!(archive.shares(&lent).is_err());
    assert_eq!((own.is_own(), lent.is_own()), (true, false));
    archive.unshare(&own, None).unwrap();
    archive.unshare(&own, Some(&other)).unwrap();
    assert_eq!([sees(&web), sees(&other), sees(&third)], [true, false, false]);
    archive.share(&own, Some(&other)).unwrap();
    archive.delete(&own).unwrap();
    assert!(!sees(&web));
    assert!(names(&memory, prefix::SHARES).is_empty());
}

#[test]
fn a_share_that_was_not_made_with_the_project_s_key_is_none() {
    let (memory, archive) = fresh();
    let (vault, other) = (project("vault"), project("other"));
    let key = ProjectKey::new([5; 32]);
    let keys = |project: &mezame_model::ProjectName| match project.as_str() {
        "vault" => KeyOf::Key(key.clone()),
        _ => KeyOf::Open,
    };
    let mut about = new(&vault, None);
    about.key = Some(&key);
    let mut made = Vec::new();
    for letter in [1, 2] {
        let id = archive.import(&about, &Disk::of(&[letter]), &Unwatched).unwrap().image.id;
        made.push(archive.view(id, Viewer::Project(&vault), &keys).unwrap());
    }
    let sees = |image: &Visible| {
        let viewed = archive.view(image.image().id, Viewer::Project(&other), &keys).is_ok();
        let listed = archive.list(Viewer::Project(&other), &keys).unwrap();
        assert_eq!(viewed, listed.iter().any(|listed| listed.id == image.image().id));
        viewed
    };
    archive.share(&made[0], Some(&other)).unwrap();
    assert!(sees(&made[0]) && !sees(&made[1]));
    let share = |image: &Visible, with| ObjectName::share(image.image().id, with);
    let genuine = memory.read(&share(&made[0], Some(&other)), 99).unwrap();
    let unkeyed = Domain::of(None).authenticate_share(&share(&made[1], Some(&other)));
    for with in [None, Some(&other)] {
        let name = share(&made[1], with);
        for forged in [&b""[..], &genuine, unkeyed.as_bytes(), &[0; 99]] {
            memory.replace(&name, forged).unwrap();
            assert!(!sees(&made[1]), "{name} of {} bytes", forged.len());
        }
    }
    // What somebody has put there keeps nobody from sharing.
    archive.share(&made[1], Some(&other)).unwrap();
    assert!(sees(&made[1]));
}

#[test]
fn a_record_without_a_key_is_none_of_an_encrypted_project_s() {
    let (_, archive) = fresh();
    let vault = project("vault");
    // As somebody writes it who has the store and not the key.
    let id = archive.import(&new(&vault, None), &Disk::of(&[1]), &Unwatched).unwrap().image.id;
    let key = ProjectKey::new([5; 32]);
    for known in [KeyOf::Key(key), KeyOf::Away] {
        let keys = |_: &mezame_model::ProjectName| known.clone();
        for viewer in [Viewer::Operator, Viewer::Project(&vault)] {
            let refused = archive.view(id, viewer, &keys).unwrap_err();
            assert!(matches!(refused, ArchiveError::Record { .. }), "{known:?}: {refused}");
        }
        assert!(archive.list(Viewer::Project(&vault), &keys).unwrap().is_empty());
        // The operator is told, and can get rid of it.
        let told = archive.list(Viewer::Operator, &keys).unwrap_err();
        assert!(matches!(told, ArchiveError::Record { id: i, .. } if i == id), "{told}");
    }
    archive.forget(id).unwrap();
    assert!(archive.list(Viewer::Operator, &|_| KeyOf::Away).unwrap().is_empty());
}

#[test]
fn a_record_that_was_changed_without_the_key_is_not_listed() {
    let (memory, archive) = fresh();
    let (vault, key) = (project("vault"), ProjectKey::new([5; 32]));
    let mut about = new(&vault, None);
    about.key = Some(&key);
    let id = archive.import(&about, &Disk::of(&[1]), &Unwatched).unwrap().image.id;
    let keys = |_: &mezame_model::ProjectName| KeyOf::Key(key.clone());
    let name = ObjectName::image(id);
    let mut record = memory.read(&name, u64::MAX).unwrap();
    // Its authenticity, and the digest that anybody can make.
    let end = record.len() - 32;
    record[end - 1] ^= 1;
    let digest = blake3::hash(&record[..end]);
    record[end..].copy_from_slice(digest.as_bytes());
    memory.replace(&name, &record).unwrap();
    assert!(archive.list(Viewer::Project(&vault), &keys).unwrap().is_empty());
    let told = archive.list(Viewer::Operator, &keys).unwrap_err();
    assert!(matches!(told, ArchiveError::Record { .. }), "{told}");
}

#[test]
fn a_sealed_label_is_known_to_who_has_the_key_and_taken_from_no_damaged_record() {
    let (memory, archive) = fresh();
    let (vault, key) = (project("vault"), ProjectKey::new([5; 32]));
    let mut about = new(&vault, None);
    about.key = Some(&key);
    about.detail.labels.insert("of".into(), "one".into());
    let id = archive.import(&about, &Disk::of(&[1]), &Unwatched).unwrap().image.id;
    let known = |_: &mezame_model::ProjectName| KeyOf::Key(key.clone());
    let away = |_: &mezame_model::ProjectName| KeyOf::Away;
    let count = |archive: &Archive, keys: &dyn Fn(&mezame_model::ProjectName) -> KeyOf| {
        archive.list_labelled(&vault, keys, "of", &["one"].into()).unwrap().len()
    };
    // Not knowing the label is not remembered as its absence, and knowing it opens nothing.
    assert_eq!([count(&archive, &away), count(&archive, &known)], [0, 1]);
    assert_eq!([count(&archive, &away), count(&archive, &known)], [0, 1]);
    let name = ObjectName::image(id);
    let mut record = memory.read(&name, u64::MAX).unwrap();
    let middle = record.len() / 2;
    record[middle] ^= 1;
    memory.replace(&name, &record).unwrap();
    assert_eq!(count(&archive, &known), 0);
}
