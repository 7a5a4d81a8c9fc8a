//! The kinds of things as people name them on the command line: singular, plural or short.

use mezame_model::{
    IdError, InstanceName, NetworkName, PortName, ProjectName,
    api::{Event, Kind},
};

/// The text names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no kind of thing; there are {KNOWN}")]
pub struct KindError {
    text: String,
}

/// For messages.
pub const KNOWN: &str = "projects (proj), networks (net), ports (po), instances (inst)";

/// Each kind's plural and its other names.
pub const SPELLINGS: [(Kind, &str, &[&str]); 4] = [
    (Kind::Project, "projects", &["project", "proj"]),
    (Kind::Network, "networks", &["network", "net", "nets"]),
    (Kind::Port, "ports", &["port", "po"]),
    (Kind::Instance, "instances", &["instance", "inst"]),
];

/// Reads a kind: `instance`, `instances`, `inst`, in any case.
pub fn kind(text: &str) -> Result<Kind, KindError> {
    let is = |name: &str| name.eq_ignore_ascii_case(text);
    SPELLINGS
        .iter()
        .find(|(_, plural, others)| is(plural) || others.iter().any(|other| is(other)))
        .map(|(kind, _, _)| *kind)
        .ok_or_else(|| KindError { text: text.chars().take(40).collect() })
}

/// In running text.
pub fn lower(kind: Kind) -> &'static str {
    match kind {
        Kind::Project => "project",
        Kind::Network => "network",
        Kind::Port => "port",
        Kind::Instance => "instance",
    }
}

/// One thing in the control plane: names that were checked, so that a path can be made of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// What it is.
    pub kind: Kind,
    /// Where it belongs; none for a project.
    pub project: Option<ProjectName>,
    /// Its name.
    pub name: String,
}

impl Name {
    /// Whether an event is one of this thing's.
    pub fn is_of(&self, event: &Event) -> bool {
        let project = self.project.as_ref().map_or("", ProjectName::as_str);
        event.kind == self.kind
            && event.name == self.name
            && (self.kind == Kind::Project || event.project == project)
    }

    /// Checks a name by the rule of its kind. A project's own `project` is dropped.
    pub fn new(kind: Kind, project: Option<ProjectName>, name: &str) -> Result<Self, IdError> {
        match kind {
            Kind::Project => ProjectName::parse(name).map(drop),
            Kind::Network => NetworkName::parse(name).map(drop),
            Kind::Port => PortName::parse(name).map(drop),
            Kind::Instance => InstanceName::parse(name).map(drop),
        }?;
        let project = if kind == Kind::Project { None } else { project };
        Ok(Self { kind, project, name: name.into() })
    }

    /// The path of its resource in the API.
    pub fn path(&self) -> String {
        format!("{}/{}", collection(self.kind, self.project.as_ref()), self.name)
    }

    /// As `-o name` writes it: `instance/web`.
    pub fn short(&self) -> String {
        format!("{}/{}", lower(self.kind), self.name)
    }
}

/// `instance demo/web`.
impl std::fmt::Display for Name {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(lower(self.kind))?;
        out.write_str(" ")?;
        if let Some(project) = &self.project {
            write!(out, "{project}/")?;
        }
        out.write_str(&self.name)
    }
}

/// The path of all things of a kind, in a project if the kind lies in one.
pub fn collection(kind: Kind, project: Option<&ProjectName>) -> String {
    match (kind, project) {
        (Kind::Project, _) | (_, None) => format!("/v1/{}", kind.plural()),
        (_, Some(project)) => format!("/v1/projects/{project}/{}", kind.plural()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_in_all_its_spellings() {
        for text in ["instance", "Instances", "inst", "INSTANCE"] {
            assert_eq!(kind(text), Ok(Kind::Instance));
        }
        for known in Kind::ALL {
            assert_eq!(kind(known.as_str()), Ok(known));
            assert_eq!(kind(known.plural()), Ok(known));
        }
        assert!(kind("pod").is_err());
    }

    #[test]
    fn a_name_that_would_change_the_path_is_refused() {
        let demo = || ProjectName::parse("demo").ok();
        for bad in ["", "..", "a/b", "a?x", "a%2f", "A"] {
            assert!(Name::new(Kind::Port, demo(), bad).is_err(), "{bad}");
        }
        let name = Name::new(Kind::Port, demo(), "web-0").unwrap();
        assert_eq!(name.path(), "/v1/projects/demo/ports/web-0");
        assert_eq!(name.to_string(), "port demo/web-0");
        assert_eq!(Name::new(Kind::Project, demo(), "x").unwrap().path(), "/v1/projects/x");
    }
}
