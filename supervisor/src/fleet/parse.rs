//! Values of a fleet file that are more than a word: names, sizes, ports and sources. Each function gives the value, or
//! what is wrong in a few words and what to do next.

use super::nearest::{nearest, unknown_word_help};
use super::pace::{PACE_HELP, Pace};
use super::spec::Source;
use shm_protocol::limit;
use shm_protocol::tensor::{DType, Port};
use std::ops::RangeInclusive;
use std::path::Path;

/// Characters of a name. An agent's name stands in every line that is about it.
pub(super) const NAME_CHARACTERS: usize = 64;

/// The positive numbers that TOML has.
pub(super) const POSITIVE: RangeInclusive<i128> = 1..=i64::MAX as i128;

/// From a millisecond to a day.
pub(super) const MILLISECONDS: RangeInclusive<i128> = 1..=86_400_000;

/// A reason why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    /// A few words beside the snippet.
    pub(super) label: String,
    /// The next step.
    pub(super) help: String,
}

fn unfit<T>(label: impl Into<String>, help: impl Into<String>) -> Result<T, Unfit> {
    Err(Unfit {
        label: label.into(),
        help: help.into(),
    })
}

/// Bounds of a size, and the messages for sizes beyond them.
pub(super) struct Sizes {
    pub(super) bytes: RangeInclusive<u64>,
    pub(super) below: &'static str,
    pub(super) above: &'static str,
    pub(super) help: &'static str,
}

impl Sizes {
    pub(super) fn check(&self, bytes: u64) -> Result<u64, Unfit> {
        match bytes {
            bytes if bytes < *self.bytes.start() => unfit(self.below, self.help),
            bytes if bytes > *self.bytes.end() => unfit(self.above, self.help),
            bytes => Ok(bytes),
        }
    }
}

/// Checks that a text is a name.
pub(super) fn check_name(text: &str) -> Result<(), Unfit> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
    let label = match text.chars().find(|c| !allowed(*c)) {
        Some(other) => format!("`{}` is not allowed in a name", other.escape_default()),
        None if text.is_empty() => "empty".to_owned(),
        None if text.len() > NAME_CHARACTERS => format!("{} characters", text.len()),
        None => return Ok(()),
    };
    unfit(
        label,
        format!("a name is 1 to {NAME_CHARACTERS} of the characters a-z, 0-9, `_` and `-`"),
    )
}

/// Checks that a text can be the name of a version.
pub(super) fn check_version(text: &str) -> Result<(), Unfit> {
    let is_long = text.chars().count() > NAME_CHARACTERS;
    if text.is_empty() || is_long || text.contains(char::is_control) {
        let help = format!("it has 1 to {NAME_CHARACTERS} characters on one line");
        return unfit("no name of a version", help);
    }
    Ok(())
}

/// The pace that a text gives.
pub(super) fn check_pace(text: &str) -> Result<Pace, Unfit> {
    text.parse().or_else(|label: &str| unfit(label, PACE_HELP))
}

/// The source of a text: `builtin:name`, or a path from the folder of the fleet file.
pub(super) fn source(text: &str, folder: &Path) -> Result<Source, Unfit> {
    if let Some(name) = text.strip_prefix("builtin:") {
        return check_name(name).map(|()| Source::Builtin(name.to_owned()));
    }
    match text {
        "" => unfit(
            "empty",
            "write a path from the folder of the fleet file, or `builtin:` and a name",
        ),
        _ if text.contains('\0') => unfit("holds a zero byte", "write the path without it"),
        _ => Ok(Source::Path(folder.join(text))),
    }
}

/// The units of sizes. Of equally near ones, the first is proposed: `MB` is rather a slip of `MiB` than of `B`.
const UNITS: [(&str, u64); 4] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("B", 1),
];

/// Bytes of a text like `64 MiB`; `u64::MAX` for more than that.
pub(super) fn size(text: &str) -> Result<u64, Unfit> {
    let example = "write a whole number and one of B, KiB, MiB and GiB, as in \"64 MiB\"";
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    if number.is_empty() {
        return unfit("does not start with a whole number", example);
    }
    if unit.is_empty() {
        return unfit("no unit", example);
    }
    let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let meant = nearest(unit, UNITS.map(|(name, _)| name))
            .map(|unit| format!("did you mean \"{number} {unit}\"?"));
        return unfit(
            format!("`{unit}` is no unit"),
            meant.unwrap_or_else(|| example.to_owned()),
        );
    };
    let bytes = number
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(*bytes));
    Ok(bytes.unwrap_or(u64::MAX))
}

/// A port from its name and a text like `f32[?,4]`.
pub(super) fn port(name: &str, text: &str) -> Result<Port, Unfit> {
    let example = "write element type and dimensions, as in \"f32[?,4]\"; `?` is open";
    let bracketed = text.strip_suffix(']').and_then(|text| text.split_once('['));
    let Some((dtype, dims)) = bracketed else {
        return unfit("no dimensions in brackets", example);
    };
    let Some(dtype) = DType::ALL
        .into_iter()
        .find(|known| known.name() == dtype.trim())
    else {
        let help = unknown_word_help("type", dtype, &DType::ALL.map(DType::name));
        return unfit(format!("`{dtype}` is no element type"), help);
    };
    let dims = dims
        .split(',')
        .map(str::trim)
        .filter(|_| !dims.trim().is_empty());
    let dims: Result<Vec<Option<u64>>, Unfit> = dims
        .map(|dim| match dim {
            "?" => Ok(None),
            dim => dim
                .parse()
                .map(Some)
                .or_else(|_| unfit(format!("`{dim}` is no dimension"), example)),
        })
        .collect();
    let (name, dims) = (name.to_owned(), dims?);
    match dims.len() {
        rank if rank > limit::RANK => unfit(
            format!("{rank} dimensions"),
            format!("a tensor has at most {} dimensions", limit::RANK),
        ),
        _ => Ok(Port { name, dtype, dims }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes {
        bytes: 64 << 10..=4 << 30,
        below: "below",
        above: "above",
        help: "",
    };
    use std::path::PathBuf;

    #[test]
    fn names_are_short_and_plain() {
        check_name("pole-0_a").unwrap();
        check_name(&"a".repeat(64)).unwrap();
        assert_eq!(
            check_name(&"a".repeat(65)).unwrap_err().label,
            "65 characters"
        );
        assert_eq!(
            check_name("Pole").unwrap_err().label,
            "`P` is not allowed in a name"
        );
        assert_eq!(check_name("").unwrap_err().label, "empty");
    }

    #[test]
    fn memory_sizes_are_read_in_every_unit() {
        assert_eq!(size("65536 B"), Ok(65_536));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("64 MiB"), Ok(64 << 20));
        assert_eq!(size("4 GiB"), Ok(4 << 30));
    }

    #[test]
    fn memory_sizes_out_of_bounds_are_refused() {
        for (text, label) in [
            ("63 KiB", "below"),
            ("5 GiB", "above"),
            ("99999999999999999999 GiB", "above"),
            ("64 MB", "`MB` is no unit"),
            ("64", "no unit"),
            ("lots", "does not start with a whole number"),
            ("1.5 GiB", "`.5 GiB` is no unit"),
        ] {
            assert_eq!(
                size(text)
                    .and_then(|bytes| SIZES.check(bytes))
                    .unwrap_err()
                    .label,
                label,
                "{text}"
            );
        }
    }

    #[test]
    fn ports_are_read_as_they_are_printed() {
        for text in ["f32[?,4]", "i64[]", "bool[1,2,3,4,5,6,7,8]"] {
            let port = port("x", text).unwrap();
            assert_eq!(port.to_string(), format!("x {text}"));
        }
        assert_eq!(port("x", "f32[ ? , 4 ]").unwrap().dims, vec![None, Some(4)]);
    }

    #[test]
    fn sources_are_paths_from_the_fleet_file_or_parts_of_the_binary() {
        let folder = Path::new("fleets");
        assert_eq!(
            source("a.wasm", folder),
            Ok(Source::Path(PathBuf::from("fleets/a.wasm")))
        );
        assert_eq!(
            source("/a.wasm", folder),
            Ok(Source::Path(PathBuf::from("/a.wasm")))
        );
        assert_eq!(source("builtin:a", folder), Ok(Source::Builtin("a".into())));
        assert!(source("builtin:", folder).is_err());
        assert!(source("", folder).is_err());
    }
}
