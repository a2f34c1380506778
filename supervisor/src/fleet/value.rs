//! Texts of a fleet file that are more than a word: names, memory sizes, ports
//! and sources. Each function gives the value, or what is wrong in a few words
//! and what to do next.

use super::bounds::{NAME_CHARACTERS, Sizes};
use super::nearest::nearest;
use super::section::unknown_word_help;
use super::spec::Source;
use shm_protocol::limit;
use shm_protocol::tensor::{DType, Port};
use std::path::Path;

/// Why a text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    /// In a few words, beside the snippet.
    pub(super) label: String,
    /// What to do next.
    pub(super) help: String,
}

fn unfit(label: impl Into<String>, help: impl Into<String>) -> Unfit {
    Unfit {
        label: label.into(),
        help: help.into(),
    }
}

/// Checks that a text is a name.
pub(super) fn check_name(text: &str) -> Result<(), Unfit> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
    let help = "a name is 1 to 64 of the characters a-z, 0-9, `_` and `-`";
    const _: () = assert!(NAME_CHARACTERS == 64, "the help says so");
    if text.is_empty() {
        return Err(unfit("empty", help));
    }
    if let Some(other) = text.chars().find(|c| !allowed(*c)) {
        return Err(unfit(
            format!("`{}` is not allowed in a name", other.escape_default()),
            help,
        ));
    }
    match text.len() {
        length if length > NAME_CHARACTERS => Err(unfit(format!("{length} characters"), help)),
        _ => Ok(()),
    }
}

/// Where bytes come from: `builtin:name`, or a path from the folder of the fleet file.
pub(super) fn source(text: &str, folder: &Path) -> Result<Source, Unfit> {
    if let Some(name) = text.strip_prefix("builtin:") {
        return check_name(name).map(|()| Source::Builtin(name.to_owned()));
    }
    if text.is_empty() {
        return Err(unfit(
            "empty",
            "write a path from the folder of the fleet file, or `builtin:` and a name",
        ));
    }
    if text.contains('\0') {
        return Err(unfit("holds a zero byte", "write the path without it"));
    }
    Ok(Source::Path(folder.join(text)))
}

/// Of equally near ones, the first is proposed: `MB` is rather a slip of `MiB` than of `B`.
const UNITS: [(&str, u64); 4] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("B", 1),
];

/// Bytes of a text like `64 MiB`.
pub(super) fn memory(text: &str, sizes: &Sizes) -> Result<u64, Unfit> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let example = "write a whole number and one of B, KiB, MiB and GiB, as in \"64 MiB\"";
    if number.is_empty() {
        return Err(unfit("does not start with a whole number", example));
    }
    if unit.is_empty() {
        return Err(unfit("no unit", example));
    }
    let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let meant = nearest(unit, UNITS.map(|(name, _)| name))
            .map(|unit| format!("did you mean \"{number} {unit}\"?"));
        return Err(unfit(
            format!("`{unit}` is no unit"),
            meant.unwrap_or_else(|| example.to_owned()),
        ));
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*bytes));
    memory_bytes(bytes.unwrap_or(u64::MAX), sizes)
}

/// Checks that bytes of memory are within their bounds.
pub(super) fn memory_bytes(bytes: u64, sizes: &Sizes) -> Result<u64, Unfit> {
    let label = match bytes {
        bytes if bytes < *sizes.bytes.start() => sizes.below,
        bytes if bytes > *sizes.bytes.end() => sizes.above,
        bytes => return Ok(bytes),
    };
    Err(unfit(label, sizes.help))
}

/// A port from its name and a text like `f32[?,4]`.
pub(super) fn port(name: &str, text: &str) -> Result<Port, Unfit> {
    let example = "write element type and dimensions, as in \"f32[?,4]\"; `?` is open";
    let bracketed = text.strip_suffix(']').and_then(|text| text.split_once('['));
    let Some((dtype, dims)) = bracketed else {
        return Err(unfit("no dimensions in brackets", example));
    };
    let dtypes = DType::ALL.map(DType::name);
    let Some(dtype) = DType::ALL
        .into_iter()
        .find(|known| known.name() == dtype.trim())
    else {
        return Err(unfit(
            format!("`{dtype}` is no element type"),
            unknown_word_help(dtype, &dtypes),
        ));
    };
    let dims = if dims.trim().is_empty() {
        Vec::new()
    } else {
        dims.split(',').map(str::trim).collect()
    };
    if dims.len() > limit::RANK {
        return Err(unfit(
            format!("{} dimensions", dims.len()),
            format!("a tensor has at most {} dimensions", limit::RANK),
        ));
    }
    let dims: Result<Vec<Option<u64>>, Unfit> = dims
        .into_iter()
        .map(|dim| match dim {
            "?" => Ok(None),
            dim => dim
                .parse()
                .map(Some)
                .map_err(|_| unfit(format!("`{dim}` is no dimension"), example)),
        })
        .collect();
    Ok(Port {
        name: name.to_owned(),
        dtype,
        dims: dims?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::bounds::MEMORY_BYTES;
    use super::*;
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
        assert_eq!(memory("65536 B", &MEMORY_BYTES), Ok(65_536));
        assert_eq!(memory("64KiB", &MEMORY_BYTES), Ok(65_536));
        assert_eq!(memory("64 MiB", &MEMORY_BYTES), Ok(64 << 20));
        assert_eq!(memory("4 GiB", &MEMORY_BYTES), Ok(4 << 30));
    }

    #[test]
    fn memory_sizes_out_of_bounds_are_refused() {
        for (text, label) in [
            ("63 KiB", "below one page of 64 KiB"),
            ("5 GiB", "above the 4 GiB that WebAssembly can address"),
            (
                "99999999999999999999 GiB",
                "above the 4 GiB that WebAssembly can address",
            ),
            ("64 MB", "`MB` is no unit"),
            ("64", "no unit"),
            ("lots", "does not start with a whole number"),
            ("1.5 GiB", "`.5 GiB` is no unit"),
        ] {
            assert_eq!(
                memory(text, &MEMORY_BYTES).unwrap_err().label,
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
