//! The imports of a crate, read from its sources as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module by its path within the crate; the root has none.
pub(crate) type Module = Vec<String>;

/// Names of files and folders that hold test code.
const TESTS: [&str; 4] = ["simulation", "teeth", "testing", "tests"];

/// The sources of a crate without their test code and comments, by module.
pub(crate) struct Sources {
    modules: BTreeMap<Module, String>,
    /// Names that a module re-exports, with the module and the path from which it takes them.
    exports: BTreeMap<(Module, String), (Module, Vec<String>)>,
}

impl Sources {
    /// Reads all sources below a folder.
    pub(crate) fn read(folder: &Path) -> Sources {
        let mut files = Vec::new();
        collect(folder, folder, &mut files);
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        Sources::of(&files)
    }

    /// Takes sources by the names of their files, relative to the folder of the crate's root.
    pub(crate) fn of(files: &[(&str, &str)]) -> Sources {
        let modules = files
            .iter()
            .map(|(name, text)| (module_of(name), product_code(text)))
            .collect();
        let mut sources = Sources {
            modules,
            exports: BTreeMap::new(),
        };
        let mut exports = BTreeMap::new();
        for (module, text) in &sources.modules {
            for (is_export, tree) in uses(text) {
                for (path, alias) in leaves(&tree) {
                    if let Some(target) = sources.absolute(module, &path)
                        && is_export
                        && let Some(name) = alias.or_else(|| path.last().cloned())
                    {
                        exports.insert((module.clone(), name), target);
                    }
                }
            }
        }
        sources.exports = exports;
        sources
    }

    /// All modules. A file `foo/mod.rs` is `foo::mod` here.
    pub(crate) fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.keys()
    }

    /// Every module that takes names from another one, and which.
    pub(crate) fn imports(&self) -> Vec<(Module, Module, BTreeSet<String>)> {
        let mut imports: BTreeMap<(Module, Module), BTreeSet<String>> = BTreeMap::new();
        for (module, text) in &self.modules {
            let private = uses(text).into_iter().filter(|(is_export, _)| !is_export);
            let mut paths = Vec::new();
            // Modules that are imported by themselves, by the name that they have here.
            let mut modules: BTreeMap<String, Module> = BTreeMap::new();
            for (path, alias) in private.flat_map(|(_, tree)| leaves(&tree)) {
                if let Some((from, rest)) = self.absolute(module, &path)
                    && let (target, None) = self.resolve(from, rest, 0)
                    && let Some(name) = alias.or_else(|| path.last().cloned())
                {
                    modules.insert(name, target);
                }
                paths.push(path);
            }
            for path in inline_paths(&without_uses(text)) {
                match path.first().and_then(|first| modules.get(first)) {
                    Some(target) => {
                        let from_root = ["crate".to_owned()].into_iter();
                        let rest = path[1..].iter().cloned();
                        paths.push(
                            from_root
                                .chain(target.iter().cloned())
                                .chain(rest)
                                .collect(),
                        );
                    }
                    None => paths.push(path),
                }
            }
            for path in paths {
                let Some((from, rest)) = self.absolute(module, &path) else {
                    continue;
                };
                let (target, name) = self.resolve(from, rest, 0);
                if let Some(name) = name
                    && target != *module
                    && self.modules.contains_key(&target)
                {
                    let names = imports.entry((module.clone(), target)).or_default();
                    names.insert(name);
                }
            }
        }
        imports
            .into_iter()
            .map(|((from, to), names)| (from, to, names))
            .collect()
    }

    /// A path as a module to begin at and what follows, if it leads into this crate.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<(Module, Vec<String>)> {
        let mut at = module.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => (at, rest) = (Vec::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {}
            first => {
                let mut child = at.clone();
                child.push(first.to_owned());
                if !self.modules.contains_key(&child) {
                    return None;
                }
            }
        }
        while rest.first().is_some_and(|part| part == "super") {
            at.pop()?;
            rest = &rest[1..];
        }
        Some((at, rest.to_vec()))
    }

    /// The module that defines the first name of a path which is no module, and that name.
    fn resolve(
        &self,
        mut at: Module,
        mut rest: Vec<String>,
        depth: u32,
    ) -> (Module, Option<String>) {
        while let Some(first) = rest.first() {
            let mut child = at.clone();
            child.push(first.clone());
            if !self.modules.contains_key(&child) {
                break;
            }
            at = child;
            rest.remove(0);
        }
        let Some(name) = rest.first().cloned() else {
            return (at, None);
        };
        match self.exports.get(&(at.clone(), name.clone())) {
            Some((from, path)) if depth < 8 => self.resolve(from.clone(), path.clone(), depth + 1),
            _ => (at, Some(name)),
        }
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    let entries = fs::read_dir(folder).expect("the folder of a crate can be listed");
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned());
        if name.is_none_or(|name| TESTS.contains(&name.as_str())) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source can be read");
            let name = path.strip_prefix(root).expect("it lies below");
            files.push((name.to_string_lossy().into_owned(), text));
        }
    }
}

fn module_of(file: &str) -> Module {
    let path = file.trim_end_matches(".rs");
    match path {
        "lib" | "main" => Vec::new(),
        _ => path.split('/').map(str::to_owned).collect(),
    }
}

/// A source without comments and inline test modules.
fn product_code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            let block = lines.by_ref().find(|line| !line.starts_with("#["));
            if block.is_some_and(|line| line.ends_with('{')) {
                lines.by_ref().find(|line| *line == "}");
            }
            continue;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// The `use` declarations: whether each is a re-export, and its tree.
fn uses(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, tree, after)) = next_use(rest) {
        let line = before.rsplit('\n').next().unwrap_or_default().trim();
        found.push((line.starts_with("pub"), tree.to_owned()));
        rest = after;
    }
    found
}

fn without_uses(text: &str) -> String {
    let mut left = String::new();
    let mut rest = text;
    while let Some((before, _, after)) = next_use(rest) {
        left.push_str(before);
        rest = after;
    }
    left + rest
}

/// What is before the next `use`, its tree, and what is after it.
fn next_use(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find("use ")?;
        let line = text[..at].rsplit('\n').next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with("pub") {
            let end = at + text[at..].find(';')?;
            return Some((&text[..at], &text[at + 4..end], &text[end + 1..]));
        }
        from = at + 4;
    }
}

/// The paths of a `use` tree, each with the name it is given if that is another one.
fn leaves(tree: &str) -> Vec<(Vec<String>, Option<String>)> {
    let mut found = Vec::new();
    add_leaves(&[], tree.trim(), &mut found);
    found
}

fn add_leaves(before: &[String], tree: &str, found: &mut Vec<(Vec<String>, Option<String>)>) {
    if let Some(group) = tree.strip_prefix('{') {
        let group = group.trim_end().strip_suffix('}').unwrap_or(group);
        let (mut depth, mut start) = (0, 0);
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    add_leaves(before, group[start..at].trim(), found);
                    start = at + 1;
                }
                _ => {}
            }
        }
        add_leaves(before, group[start..].trim(), found);
        return;
    }
    let is_group_first = |at: usize| tree.find('{').is_some_and(|brace| brace < at);
    let mut path = before.to_vec();
    match tree.find("::") {
        Some(at) if !is_group_first(at) => {
            path.push(tree[..at].trim().to_owned());
            add_leaves(&path, tree[at + 2..].trim(), found);
        }
        _ if tree.is_empty() => {}
        _ => {
            let (name, alias) = match tree.split_once(" as ") {
                Some((name, alias)) => (name.trim(), Some(alias.trim().to_owned())),
                None => (tree, None),
            };
            if name != "self" {
                path.push(name.to_owned());
            }
            found.push((path, alias));
        }
    }
}

/// Paths that are written out in the code.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("::") {
        let start = rest[..at]
            .rfind(|letter| !is_word(letter))
            .map_or(0, |before| {
                before + rest[before..].chars().next().map_or(1, char::len_utf8)
            });
        let mut path = vec![rest[start..at].to_owned()];
        let mut after = &rest[at..];
        while let Some(next) = after.strip_prefix("::") {
            let end = next.find(|letter| !is_word(letter)).unwrap_or(next.len());
            if end == 0 {
                break;
            }
            path.push(next[..end].to_owned());
            after = &next[end..];
        }
        let is_qualified = rest[..start].ends_with(['$', '.']);
        if path.len() > 1 && !is_qualified {
            found.push(path);
        }
        let next = rest.len() - after.len();
        rest = &rest[next.max(at + 2)..];
    }
    found
}
