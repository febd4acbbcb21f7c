//! The naive way: apply the oldest layer first, entry by entry, to a file system that is a map of
//! maps. It shares no code and no idea with the product but the rules themselves.
//!
//! What a layer put somewhere is known by path, as a tool that unpacks to disk would know it.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::{Item, What};
use crate::listing::{Line, Listing};

type Path = Vec<String>;

#[derive(Clone, Debug)]
struct Inode {
    what: What,
    children: BTreeMap<String, usize>,
    item: Item,
}

/// Why an entry cannot be applied, and which.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) layer: usize,
    pub(crate) item: usize,
    pub(crate) why: &'static str,
}

/// What happened that other tools are known to do differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Oddities {
    /// A file had to give way to a directory, because something was put below it.
    pub(crate) file_became_parent: bool,
    /// A hard link came before its target.
    pub(crate) link_waited: bool,
}

pub(crate) struct Model {
    inodes: Vec<Inode>,
    upper: BTreeSet<Path>,
    waiting: Vec<(usize, Path, String)>,
    pub(crate) oddities: Oddities,
}

pub(crate) fn apply(layers: &[Vec<Item>]) -> Result<Model, Refused> {
    let mut model = Model {
        inodes: Vec::new(),
        upper: BTreeSet::new(),
        waiting: Vec::new(),
        oddities: Oddities::default(),
    };
    model.inode(implied());
    for (layer, items) in layers.iter().enumerate() {
        let refused = |item, why| Refused { layer, item, why };
        model.upper.clear();
        for (index, item) in items.iter().enumerate() {
            model.item(index, item).map_err(|why| refused(index, why))?;
            model.forget_replaced_links();
        }
        model
            .late_links()
            .map_err(|(item, why)| refused(item, why))?;
    }
    Ok(model)
}

fn implied() -> Item {
    Item {
        mtime: 0,
        ..Item::new("", What::Directory)
    }
}

fn components(path: &str) -> Path {
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    parts.map(Into::into).collect()
}

impl Model {
    fn inode(&mut self, item: Item) -> usize {
        self.inodes.push(Inode {
            what: item.what.clone(),
            children: BTreeMap::new(),
            item,
        });
        self.inodes.len() - 1
    }

    /// What is at a path, without following anything.
    fn at(&self, path: &[String]) -> Option<usize> {
        path.iter().try_fold(0, |inode, name| {
            self.inodes[inode].children.get(name).copied()
        })
    }

    fn is_directory(&self, inode: usize) -> bool {
        self.inodes[inode].what == What::Directory
    }

    /// Returns the path with every symlink replaced by what it says.
    fn real(&self, path: &[String]) -> Result<Path, &'static str> {
        let mut rest: Vec<String> = path.iter().rev().cloned().collect();
        let mut real = Path::new();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                real.pop();
                continue;
            }
            real.push(name);
            let Some(inode) = self.at(&real) else {
                continue;
            };
            if let What::Symlink(target) = &self.inodes[inode].what {
                links += 1;
                if links > 255 {
                    return Err("loop");
                }
                real.pop();
                if target.starts_with('/') {
                    real.clear();
                }
                rest.extend(components(target).into_iter().rev());
            }
        }
        Ok(real)
    }

    fn remove(&mut self, path: &[String]) {
        let (name, parent) = path.split_last().unwrap();
        if let Some(parent) = self.at(parent) {
            self.inodes[parent].children.remove(name);
        }
    }

    fn put(&mut self, path: &[String], inode: usize) {
        let (name, parent) = path.split_last().unwrap();
        let parent = self.at(parent).unwrap();
        self.inodes[parent].children.insert(name.clone(), inode);
        self.mark(path);
    }

    fn mark(&mut self, path: &[String]) {
        for length in 0..=path.len() {
            self.upper.insert(path[..length].to_vec());
        }
    }

    fn make_directories(&mut self, path: &[String]) {
        for length in 1..=path.len() {
            let path = &path[..length];
            match self.at(path) {
                Some(inode) if self.is_directory(inode) => {}
                old => {
                    self.oddities.file_became_parent |= old.is_some();
                    let inode = self.inode(implied());
                    self.put(path, inode);
                }
            }
        }
        self.mark(path);
    }

    fn item(&mut self, index: usize, item: &Item) -> Result<(), &'static str> {
        let path = components(&item.path);
        let Some((name, parent)) = path.split_last() else {
            let root = &mut self.inodes[0];
            root.item = item.clone();
            return Ok(());
        };
        let mut real = self.real(parent)?;
        if let Some(name) = name.strip_prefix(".wh.") {
            if name != ".wh..opq" {
                real.push(name.into());
            }
            if self.at(&real).is_some() {
                self.purge(&real, name == ".wh..opq");
            }
            return Ok(());
        }
        if let What::Link(target) = &item.what {
            let name = name.clone();
            self.make_directories(&real);
            real.push(name);
            self.remove(&real);
            match self.target(target)? {
                Some(inode) => self.put(&real, inode),
                None => {
                    self.oddities.link_waited = true;
                    self.waiting.retain(|(_, path, _)| *path != real);
                    self.waiting.push((index, real, target.clone()));
                }
            }
            return Ok(());
        }
        self.make_directories(&real);
        real.push(name.clone());
        match self.at(&real) {
            Some(old) if self.is_directory(old) && item.what == What::Directory => {
                self.inodes[old].item = item.clone();
                self.mark(&real);
            }
            _ => {
                let inode = self.inode(item.clone());
                self.put(&real, inode);
            }
        }
        Ok(())
    }

    /// A waiting link goes with the directory that its name was in, or when something else gets
    /// its name.
    fn forget_replaced_links(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let empty = |path: &Path| {
            let parent = self.at(&path[..path.len() - 1]);
            parent.is_some_and(|parent| self.is_directory(parent)) && self.at(path).is_none()
        };
        let waiting = waiting.into_iter().filter(|(_, path, _)| empty(path));
        self.waiting = waiting.collect();
    }

    fn target(&self, target: &str) -> Result<Option<usize>, &'static str> {
        let path = components(target);
        let (name, parent) = path.split_last().ok_or("link to a directory")?;
        let mut real = self.real(parent)?;
        real.push(name.clone());
        match self.at(&real) {
            Some(inode) if self.is_directory(inode) => Err("link to a directory"),
            found => Ok(found),
        }
    }

    /// Removes what is not this layer's.
    fn purge(&mut self, path: &[String], keep: bool) {
        if !keep && !self.upper.contains(path) {
            return self.remove(path);
        }
        let Some(inode) = self.at(path) else { return };
        let names: Vec<String> = self.inodes[inode].children.keys().cloned().collect();
        for name in names {
            let mut child = path.to_vec();
            child.push(name);
            self.purge(&child, false);
        }
    }

    fn late_links(&mut self) -> Result<(), (usize, &'static str)> {
        loop {
            let before = self.waiting.len();
            for (index, path, target) in std::mem::take(&mut self.waiting) {
                match self.target(&target).map_err(|why| (index, why))? {
                    Some(inode) => self.put(&path, inode),
                    None => self.waiting.push((index, path, target)),
                }
            }
            if self.waiting.len() == before {
                break;
            }
        }
        match self.waiting.first() {
            Some((index, ..)) => Err((*index, "link to nothing")),
            None => Ok(()),
        }
    }

    pub(crate) fn listing(&self) -> Listing {
        let mut paths = vec![(String::new(), 0)];
        let mut lines = Listing::new();
        let mut names: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        while let Some((path, inode)) = paths.pop() {
            for (name, child) in &self.inodes[inode].children {
                let slash = if path.is_empty() { "" } else { "/" };
                paths.push((format!("{path}{slash}{name}"), *child));
            }
            names.entry(inode).or_default().push(path);
        }
        for (inode, mut names) in names {
            names.sort_by_key(|name| components(name));
            let item = &self.inodes[inode].item;
            for name in &names {
                let line = Line {
                    what: match &item.what {
                        What::Directory => "/".into(),
                        What::File(text) => format!("={text}"),
                        What::Symlink(target) => format!("->{target}"),
                        What::Fifo => "fifo".into(),
                        What::Char(major, minor) => format!("char {major}:{minor}"),
                        What::Link(_) => unreachable!("links have no inode of their own"),
                    },
                    mode: match &item.what {
                        What::Symlink(_) => 0o777,
                        _ => item.mode,
                    },
                    uid: item.uid,
                    gid: item.uid,
                    mtime: u32::try_from(item.mtime).unwrap(),
                    xattrs: item.xattrs.clone(),
                    links: u32::try_from(names.len()).unwrap(),
                    inode: names[0].clone(),
                };
                lines.insert(name.clone(), line);
            }
        }
        lines
    }
}
