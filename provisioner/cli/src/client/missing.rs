//! What is told of a call whose path leads to nothing: what it asked for, in words. Pure.
//!
//! The server says that something is not there; which of the path's parts that is, it does not tell.

/// What a project has, by the word of its path: what one is called, and what shows them. Kinds of
/// documents are named by whoever asks for them.
const KINDS: [(&str, &str, &str); 5] = [
    ("images", "image", "image list"),
    ("jobs", "job", "job list"),
    ("volumes", "volume", "volume list"),
    ("backups", "backup", "backup list"),
    ("backup-schedules", "schedule", "backup schedule list"),
];

/// What is not there, of what this path names in a project; None where it names nothing in one.
pub(super) fn told(path: &str) -> Option<String> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if let Some(job) = path.strip_prefix("/v1/jobs/").and_then(|it| it.split('/').next()) {
        return Some(format!("there is no job '{job}': see 'mezame job list --all-projects'"));
    }
    if let Some((word, name)) = path.strip_prefix("/v1/").and_then(|it| it.split_once('/')) {
        let list = match word {
            "pools" => "pool",
            "masters" => "master",
            "leftovers" => "leftover",
            _ => "",
        };
        if !list.is_empty() {
            return Some(format!("there is no '{name}': see 'mezame volume {list} list'"));
        }
    }
    let mut parts = path.strip_prefix("/v1/projects/")?.split('/');
    let (project, kind) = (parts.next()?, parts.next());
    let named = kind.zip(parts.next());
    let of = |(word, name)| {
        let (_, kind, list) = KINDS.into_iter().find(|it| it.0 == word)?;
        Some(format!(
            "the project '{project}' has no {kind} '{name}', or not what is asked of it, or there is \
             no such project: see 'mezame {list} -p {project}'"
        ))
    };
    match named {
        Some(named) => of(named),
        None => Some(format!("there is no project '{project}': see 'mezame get projects'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_told_by_its_name() {
        let told = |path: &str| told(path).unwrap_or_default();
        assert!(
            told("/v1/projects/a/volumes/web").starts_with("the project 'a' has no volume 'web'")
        );
        assert!(told("/v1/projects/a/backups/img-1").ends_with("see 'mezame backup list -p a'"));
        let deeper = told("/v1/projects/a/jobs/job-1/cancel?x=1");
        assert!(deeper.contains("no job 'job-1'"), "{deeper}");
        assert!(told("/v1/jobs/job-1/cancel").starts_with("there is no job 'job-1'"));
        assert!(told("/v1/pools/defualt").ends_with("see 'mezame volume pool list'"));
        let list = "there is no project 'a': see 'mezame get projects'";
        assert_eq!(told("/v1/projects/a/volumes?limit=3"), list);
        assert_eq!(told("/v1/projects/a"), list);
    }

    #[test]
    fn what_is_no_projects_is_left_as_the_server_tells_it() {
        for path in ["/v1/keys/x", "/v1/projects/a/ports/x", "/v2/projects/a", ""] {
            assert_eq!(told(path), None, "{path}");
        }
    }
}
