//! The source of `src/` as text, for tests that read the house instead of living in it.

use proc_macro2::{TokenStream, TokenTree};
use std::{collections::BTreeSet, fs, path::Path as Folder, str::FromStr as _};

/// A file of `src/`, like `api/orders/mod.rs`.
pub struct Source {
    pub path: String,
    pub text: String,
    /// Words and punctuation, without comments; `::` is one word, and a text keeps its quotes.
    words: Vec<String>,
}

/// `crate::ids::OrgId` as `[crate, ids, OrgId]`.
pub type Path = Vec<String>;

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let mut words = Vec::new();
        flatten(TokenStream::from_str(text).unwrap(), &mut words);
        Self { path: path.to_owned(), text: text.to_owned(), words }
    }

    pub fn all() -> Vec<Self> {
        let mut found = Vec::new();
        collect(&Folder::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
        assert!(found.len() > 50, "the house has more files than these {}", found.len());
        found
    }

    /// Where it stands in the crate: `[api, orders]`.
    pub fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs");
        path.split('/').filter(|name| !["mod", "lib", "main"].contains(name)).collect()
    }

    /// What it imports or names in full, groups taken apart and `super` followed.
    pub fn paths(&self) -> BTreeSet<Path> {
        let mut found = BTreeSet::new();
        let (mut braces, mut inline) = (0, Vec::new());
        for (at, word) in self.words.iter().enumerate() {
            let before = |back: usize| at.checked_sub(back).map_or("", |at| self.words[at].as_str());
            match word.as_str() {
                "{" => {
                    inline.extend((before(2) == "mod").then_some(braces));
                    braces += 1;
                }
                "}" => {
                    braces -= 1;
                    inline.pop_if(|outer| *outer == braces);
                }
                "::" if is_name(before(1)) && before(2) != "::" => {
                    let mut paths = BTreeSet::new();
                    self.tree(at - 1, &[], &mut paths);
                    found.extend(paths.into_iter().map(|path| self.absolute(path, inline.len())));
                }
                _ => {}
            }
        }
        found
    }

    /// What stands behind each occurrence of these words.
    pub fn after<'a>(&'a self, words: &'a [&str]) -> impl Iterator<Item = &'a [String]> {
        let starts = (0..self.words.len()).filter(move |&at| {
            self.words.len() >= at + words.len() && words.iter().zip(&self.words[at..]).all(|(a, b)| a == b)
        });
        starts.map(move |at| &self.words[at + words.len()..])
    }

    /// Reads the tree of a path from `at` on, and answers where it ends.
    fn tree(&self, mut at: usize, above: &[String], paths: &mut BTreeSet<Path>) -> usize {
        let word = |at: usize| self.words.get(at).map(String::as_str);
        let mut path = above.to_vec();
        while let Some(name) = word(at) {
            match name {
                "{" => {
                    at += 1;
                    while word(at).is_some_and(|word| word != "}") {
                        let end = self.tree(at, &path, paths);
                        at = if word(end) == Some(",") || end == at { end.max(at) + 1 } else { end };
                    }
                    return at + 1;
                }
                "self" if !path.is_empty() => {}
                name if name == "*" || is_name(name) => path.push(name.to_owned()),
                _ => break,
            }
            at += 1;
            if word(at) != Some("::") {
                break;
            }
            at += 1;
        }
        paths.insert(path);
        // `as name`
        if word(at) == Some("as") { at + 2 } else { at }
    }

    /// A path written `inline` modules deep inside the file.
    fn absolute(&self, path: Path, inline: usize) -> Path {
        let module = self.module();
        let ups = path.iter().take_while(|name| *name == "super").count();
        if ups == 0 {
            return path;
        }
        let kept = module.len().saturating_sub(ups.saturating_sub(inline));
        let above = module[..kept].iter().map(|name| (*name).to_owned());
        std::iter::once("crate".to_owned()).chain(above).chain(path[ups..].iter().cloned()).collect()
    }
}

fn collect(folder: &Folder, name: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = format!("{name}{}", entry.file_name().into_string().unwrap());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{path}/"), found);
        } else if Folder::new(&path).extension().is_some_and(|extension| extension == "rs") {
            found.push(Source::new(&path, &fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

fn flatten(tokens: TokenStream, words: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let whole = group.to_string();
                let delimited = matches!(whole.as_bytes().first(), Some(b'{' | b'(' | b'['));
                words.extend(delimited.then(|| whole[..1].to_owned()));
                flatten(group.stream(), words);
                words.extend(delimited.then(|| whole[whole.len() - 1..].to_owned()));
            }
            TokenTree::Punct(colon)
                if colon.as_char() == ':' && words.last().is_some_and(|last| last == ":") =>
            {
                words.pop();
                words.push("::".to_owned());
            }
            token => words.push(token.to_string()),
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}
