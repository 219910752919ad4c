//! A file imports only from floors below its own, as `src/lib.rs` lists them, and rooms never from one another.

use super::support::Source;
use std::collections::{BTreeMap, BTreeSet};

/// The floors whose files are rooms of their own.
const CORRIDORS: [&str; 2] = ["api", "operator"];

#[test]
fn imports_go_downstairs() {
    let sources = Source::all();
    let complaints = complaints(&Floors::of(&sources), &sources);
    assert!(complaints.is_empty(), "what two share moves down:\n{}", complaints.join("\n"));
}

/// Which floor each room stands on.
struct Floors(BTreeMap<String, usize>);

impl Floors {
    fn of(sources: &[Source]) -> Self {
        let lib = sources.iter().find(|source| source.path == "lib.rs").unwrap();
        Self::read(&lib.text)
    }

    /// `// 2 fence` opens a floor, `pub mod tenancy;` puts a room on it.
    fn read(lib: &str) -> Self {
        let (mut rooms, mut floors) = (BTreeMap::new(), 0);
        for line in lib.lines() {
            if let Some(name) = line.strip_prefix("// ").filter(|name| name.starts_with(char::is_numeric)) {
                assert!(name.starts_with(&format!("{floors} ")), "floors are counted from 0: {line}");
                floors += 1;
            } else if let Some(room) = line.strip_prefix("pub mod ") {
                assert!(floors > 0, "{line} stands above the first floor's name");
                rooms.insert(room.trim_end_matches(';').to_owned(), floors - 1);
            }
        }
        Self(rooms)
    }
}

fn complaints(Floors(floors): &Floors, sources: &[Source]) -> Vec<String> {
    let mut complaints = BTreeSet::new();
    for source in sources {
        let (path, module) = (&source.path, source.module());
        let Some(&room) = module.first() else { continue };
        let Some(floor) = floors.get(room) else {
            complaints.insert(format!("{path} stands on no floor: list {room} in src/lib.rs"));
            continue;
        };
        for import in source.paths() {
            let ["crate", target, rest @ ..] = &import.iter().map(String::as_str).collect::<Vec<_>>()[..]
            else {
                continue;
            };
            match floors.get(*target) {
                None => {
                    complaints.insert(format!("{path} imports {target}, which stands on no floor"));
                }
                Some(below) if *target != room && below >= floor => {
                    complaints.insert(format!("{room} ({floor}) may not import {target} ({below}): {path}"));
                }
                Some(_) if *target == room && CORRIDORS.contains(&room) => {
                    if let (Some(&noun), Some(&other)) = (module.get(1), rest.first())
                        && noun != other
                        && sources.iter().any(|source| source.module().starts_with(&[room, other]))
                    {
                        complaints.insert(format!("{room}/{noun} may not import {room}/{other}: {path}"));
                    }
                }
                Some(_) => {}
            }
        }
    }
    complaints.into_iter().collect()
}

// The checker itself, on planted faults.

const LIB: &str = "//! A house.\n\n// 0 words\npub mod ids;\n\n// 1 fence\npub mod authn;\npub mod tenancy;\n\n\
    // 2 means\npub mod state;\n\n// 3 rooms\npub mod api;\n";

fn complaints_of(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    complaints(&Floors::read(LIB), &sources)
}

#[test]
fn an_import_from_above_or_from_the_same_floor_is_found_however_it_is_written() {
    let upward = "tenancy (1) may not import state (2): tenancy/tx.rs";
    for text in [
        "use crate::state::AppState;",
        "use crate::state;",
        "use crate::{ids::OrgId, state::AppState};",
        "use crate::{\n    ids::{\n        OrgId,\n        UserId,\n    },\n    state::{\n        self, AppState,\n    },\n};",
        "pub use crate::{ids::*, state as above};",
        "use super::super::state::AppState;",
        "fn f() { crate::state::open::<u8>(); }",
        "macro_rules! m { () => { $crate::state::AppState } }",
        "fn f() { let it = query!(crate::state::AppState, 1); }",
        "mod tests { fn f(it: &crate::state::AppState) {} }",
    ] {
        assert_eq!(complaints_of(&[("tenancy/tx.rs", text)]), [upward], "{text}");
    }
    assert_eq!(
        complaints_of(&[("tenancy/mod.rs", "use crate::authn::Principal;")]),
        ["tenancy (1) may not import authn (1): tenancy/mod.rs"]
    );
    assert_eq!(
        complaints_of(&[("ids.rs", "use super::state;")]),
        ["ids (0) may not import state (2): ids.rs"]
    );
}

#[test]
fn what_is_lawful_or_only_looks_like_an_import_passes() {
    for text in [
        "use crate::{ids::{OrgId, UserId}, tenancy::gate};",
        "use super::{gate, directory::Control};",
        "mod tests { use super::{state, *}; mod deeper { use super::super::super::{state, gate}; } }",
        "// use crate::state::AppState;",
        "//! See [`crate::state::AppState`].",
        "/* crate::state /* crate::state */ crate::state */",
        "const S: &str = r#\"crate::state\"#; const T: char = '\"'; const U: &str = \"crate::state\";",
        "use other::state::crate_state; fn f<'a>(it: &'a str) {}",
        "pub(crate) fn state() {}",
    ] {
        assert_eq!(complaints_of(&[("tenancy/tx.rs", text)]), [""; 0], "{text}");
    }
}

#[test]
fn a_room_on_no_floor_and_a_room_that_reads_another_are_found() {
    assert_eq!(complaints_of(&[("attic.rs", "")]), ["attic.rs stands on no floor: list attic in src/lib.rs"]);
    assert_eq!(
        complaints_of(&[("state.rs", "use crate::cellar::Wine;")]),
        ["state.rs imports cellar, which stands on no floor"]
    );
    let rooms = |text| [("api/mod.rs", "fn given() {}"), ("api/auth.rs", ""), ("api/me/mod.rs", text)];
    for text in ["use super::auth::User;", "use crate::api::auth::User;", "use super::{given, auth};"] {
        assert_eq!(complaints_of(&rooms(text)), ["api/me may not import api/auth: api/me/mod.rs"], "{text}");
    }
    assert_eq!(complaints_of(&rooms("use super::given; mod store; use self::store::select;")), [""; 0]);
}

#[test]
#[should_panic(expected = "floors are counted from 0")]
fn a_floor_that_is_left_out_is_found() {
    Floors::read("// 0 words\npub mod ids;\n// 2 means\npub mod state;\n");
}
