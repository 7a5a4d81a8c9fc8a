//! Paths as a tree of directories and files.
//!
//! Sorted, so that the order in which the files are handed in changes nothing.

use super::{VolumeError, directory};

/// The root's place.
pub(super) const ROOT: usize = 0;

/// The tree. Its nodes have places; each comes after the directory that it is in.
pub(super) struct Tree<'a> {
    nodes: Vec<Node<'a>>,
}

struct Node<'a> {
    name: &'a str,
    content: Content<'a>,
}

/// What a node is.
pub(super) enum Content<'a> {
    /// These bytes.
    File(&'a [u8]),
    /// Other nodes, by their places.
    Directory {
        /// The directory that it is in; the root's is the root.
        parent: usize,
        /// What is in it.
        children: Vec<usize>,
    },
}

impl<'a> Tree<'a> {
    /// The tree of these paths, whose parts are divided by slashes.
    pub(super) fn of(files: &[(&'a str, &'a [u8])]) -> Result<Self, VolumeError> {
        let mut files = files.to_vec();
        files.sort_unstable_by_key(|(path, _)| *path);
        let root = Content::Directory { parent: ROOT, children: Vec::new() };
        let mut tree = Self { nodes: vec![Node { name: "", content: root }] };
        for (path, bytes) in files {
            tree.insert(path, bytes)?;
        }
        Ok(tree)
    }

    fn insert(&mut self, path: &'a str, bytes: &'a [u8]) -> Result<(), VolumeError> {
        let twice = || VolumeError::Twice { path: path.to_owned() };
        let mut parts: Vec<&str> = path.split('/').collect();
        let name = parts.pop().unwrap_or_default();
        let mut at = ROOT;
        for part in parts {
            at = match self.child(at, part) {
                Some(child) => match &self.nodes[child] {
                    Node { name, content: Content::Directory { .. } } if *name == part => child,
                    _ => return Err(twice()),
                },
                None => {
                    let directory = Content::Directory { parent: at, children: Vec::new() };
                    self.push(at, part, directory, path)?
                }
            };
        }
        if self.child(at, name).is_some() {
            return Err(twice());
        }
        self.push(at, name, Content::File(bytes), path).map(drop)
    }

    /// The child of this name, in whatever case: to FAT they are one.
    fn child(&self, at: usize, name: &str) -> Option<usize> {
        let Content::Directory { children, .. } = &self.nodes[at].content else { return None };
        children.iter().copied().find(|child| self.nodes[*child].name.eq_ignore_ascii_case(name))
    }

    fn push(
        &mut self,
        parent: usize,
        name: &'a str,
        content: Content<'a>,
        path: &str,
    ) -> Result<usize, VolumeError> {
        if !directory::is_name(name) {
            return Err(VolumeError::Name { path: path.to_owned() });
        }
        let at = self.nodes.len();
        self.nodes.push(Node { name, content });
        if let Content::Directory { children, .. } = &mut self.nodes[parent].content {
            children.push(at);
        }
        Ok(at)
    }

    /// How many nodes there are, the root among them.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The places of all nodes but the root.
    pub(super) fn below_root(&self) -> std::ops::Range<usize> {
        ROOT + 1..self.nodes.len()
    }

    /// What a node is called.
    pub(super) fn name(&self, at: usize) -> &'a str {
        self.nodes[at].name
    }

    /// What a node is.
    pub(super) fn content(&self, at: usize) -> &Content<'a> {
        &self.nodes[at].content
    }

    /// How many bytes a node takes.
    pub(super) fn length(&self, at: usize) -> usize {
        match &self.nodes[at].content {
            Content::File(bytes) => bytes.len(),
            Content::Directory { children, .. } => {
                let names = children.iter().map(|child| self.nodes[*child].name);
                directory::length(names, at == ROOT)
            }
        }
    }
}
