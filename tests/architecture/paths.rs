//! The paths that a source names: in imports, grouped and renamed ones included, and anywhere else in code.

use super::tokens::{Token, tokens};

/// A path as it resolves: `super`, `self` and groups are gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedPath<'a> {
    /// Whether it begins at the root of our crate; else its first segment is an outside crate, or a name in scope.
    pub(super) ours: bool,
    /// Each with its line. A glob is the segment `*`. Empty: our crate as a whole.
    pub(super) segments: Vec<Token<'a>>,
    /// Where the path ends.
    pub(super) line: usize,
}

/// Finds every path of a source file. `module` is where the file stands below the root: `["event_log", "reader"]`.
pub(super) fn named_paths<'a>(source: &'a str, module: &[&'a str]) -> Vec<NamedPath<'a>> {
    let tokens = tokens(source);
    let mut finder = Finder {
        tokens: &tokens,
        scope: module.iter().map(|name| Scope { name, depth: 0 }).collect(),
        found: Vec::new(),
    };
    finder.run();
    finder.found
}

/// A module that the walk is inside of, and how deep in braces it began.
struct Scope<'a> {
    name: &'a str,
    depth: usize,
}

struct Finder<'a, 't> {
    tokens: &'t [Token<'a>],
    scope: Vec<Scope<'a>>,
    found: Vec<NamedPath<'a>>,
}

impl<'a> Finder<'a, '_> {
    fn text(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text)
    }

    fn run(&mut self) {
        let (mut at, mut depth, mut importing) = (0, 0, false);
        while at < self.tokens.len() {
            match self.text(at) {
                "{" => depth += 1,
                "}" => {
                    depth = usize::saturating_sub(depth, 1);
                    self.scope.retain(|module| module.depth <= depth);
                }
                ";" => importing = false,
                "mod" if self.text(at + 2) == "{" => {
                    let (name, depth) = (self.text(at + 1), depth + 1);
                    self.scope.push(Scope { name, depth });
                    at += 1;
                }
                // The new name of an import says nothing.
                "as" if importing => at += 1,
                // Not the `use<…>` of a type.
                "use" => importing = self.text(at + 1) != "<",
                "extern" if self.text(at + 1) == "crate" => (importing, at) = (true, at + 1),
                // Not the end of `<T as Trait>::Item`.
                "::" if at == 0 || self.text(at - 1) != ">" => {
                    at = self.path(at + 1, Vec::new(), true);
                    continue;
                }
                _ if self.tokens[at].is_word() => {
                    at = self.path(at, Vec::new(), importing);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Reads the path that begins here after `before`, or each path of the group; gives the place after it. A name alone says
    /// something only where it is imported.
    fn path(&mut self, mut at: usize, before: Vec<Token<'a>>, importing: bool) -> usize {
        let mut path = before;
        loop {
            match self.text(at) {
                "{" => return self.group(at + 1, &path),
                "*" => path.push(self.tokens[at]),
                _ if self.tokens.get(at).is_some_and(Token::is_word) => {
                    path.push(self.tokens[at]);
                    if self.text(at + 1) == "::" && self.text(at + 2) != "<" {
                        at += 2;
                        continue;
                    }
                }
                _ => return at,
            }
            self.resolve(path, importing);
            return at + 1;
        }
    }

    fn group(&mut self, mut at: usize, before: &[Token<'a>]) -> usize {
        loop {
            match self.text(at) {
                "" | "}" => return at + 1,
                "as" => at += 2,
                "," | "::" => at += 1,
                _ => {
                    let after = self.path(at, before.to_vec(), true);
                    at = after.max(at + 1);
                }
            }
        }
    }

    fn resolve(&mut self, path: Vec<Token<'a>>, importing: bool) {
        // `crate` alone also stands in `pub(crate)`, and a single name is mostly a variable.
        if path.len() < 2 && !importing {
            return;
        }
        let Some(line) = path.last().map(|token| token.line) else {
            return;
        };
        let mut names = path.into_iter().peekable();
        let mut above: Option<Vec<Token<'a>>> = None;
        while let Some(token) = names.next_if(|token| is_anchor(token.text)) {
            let place = above.get_or_insert_with(|| self.here(token.line));
            match token.text {
                "crate" => place.clear(),
                "super" => drop(place.pop()),
                _ => {}
            }
        }
        // `{self, …}` at the end of a path is the path itself.
        let names = names.filter(|token| token.text != "self");
        self.found.push(NamedPath {
            ours: above.is_some(),
            segments: above.unwrap_or_default().into_iter().chain(names).collect(),
            line,
        });
    }

    /// The module that the walk is inside of, as a path.
    fn here(&self, line: usize) -> Vec<Token<'a>> {
        let name = |module: &Scope<'a>| Token {
            text: module.name,
            line,
        };
        self.scope.iter().map(name).collect()
    }
}

/// What a path of our crate begins with.
fn is_anchor(word: &str) -> bool {
    matches!(word, "crate" | "self" | "super")
}
