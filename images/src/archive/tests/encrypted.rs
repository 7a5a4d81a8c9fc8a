//! What an encrypted project's key is needed for.

use super::*;

#[test]
fn of_an_encrypted_project_nothing_can_be_read_without_its_key() {
    let (memory, archive) = fresh();
    let key = ProjectKey::new([5; 32]);
    let project = project("vault");
    let mut about = new(&project, None);
    about.key = Some(&key);
    about.detail.name = "payroll".into();
    let disk = secret_disk();
    let id = archive.import(&about, &disk, &Unwatched).unwrap().image.id;

    for object in memory.list("").unwrap() {
        let bytes = memory.read(&object.name, u64::MAX).unwrap();
        for known in [SECRET, b"payroll", &disk.bytes[..24], key.expose()] {
            let is_found = bytes.windows(known.len()).any(|window| window == known);
            assert!(!is_found, "{} holds {known:?}", object.name);
        }
    }
    let refused = archive.view(id, Viewer::Operator, &no_keys).unwrap_err();
    assert!(matches!(refused, ArchiveError::KeyNeeded { .. }), "{refused}");
    let wrong = |_: &mezame_model::ProjectName| KeyOf::Key(ProjectKey::new([6; 32]));
    let refused = archive.view(id, Viewer::Operator, &wrong).unwrap_err();
    assert!(matches!(refused, ArchiveError::Record { .. }), "{refused}");
    let listed = archive.list(Viewer::Operator, &no_keys).unwrap();
    assert_eq!((listed.len(), &listed[0].detail), (1, &None));

    let right = |_: &mezame_model::ProjectName| KeyOf::Key(key.clone());
    let image = archive.view(id, Viewer::Operator, &right).unwrap();
    assert_eq!(image.image().detail.as_ref().unwrap().name, "payroll");
    let target = Restored { is_blank: true, ..Restored::default() };
    archive.export(&image, &target, &Unwatched).unwrap();
    assert_eq!(target.bytes.into_inner().unwrap(), disk.bytes);
    // Garbage is collected without any key.
    archive.gc(&Unwatched).unwrap();
    assert_eq!(archive.verify(&image, &Unwatched).unwrap().damaged, 0);
}

#[test]
fn an_encrypted_project_s_chunks_are_nobody_else_s() {
    let (memory, archive) = fresh();
    let disk = Disk::of(&[1, 2, 3]);
    import(&archive, &disk);
    let open = stored(&memory);
    let (key, project) = (ProjectKey::new([5; 32]), project("vault"));
    let mut about = new(&project, None);
    about.key = Some(&key);
    archive.import(&about, &disk, &Unwatched).unwrap();
    let once = stored(&memory);
    assert!(once > open, "chunks are shared between domains");
    archive.import(&about, &disk, &Unwatched).unwrap();
    assert_eq!(stored(&memory), once, "chunks are not shared within one");
}

#[test]
fn an_image_is_not_continued_under_another_key() {
    let (_, archive) = fresh();
    let base = import(&archive, &Disk::of(&[1, 2])).image.id;
    let viewed = archive.view(base, Viewer::Operator, &no_keys).unwrap();
    let (key, web) = (ProjectKey::new([5; 32]), project("web"));
    let mut about = new(&web, Some(&viewed));
    about.key = Some(&key);
    let refused = archive.import(&about, &Disk::of(&[1, 2]), &Unwatched);
    assert!(matches!(refused, Err(ArchiveError::OtherKey { .. })), "{refused:?}");
}
