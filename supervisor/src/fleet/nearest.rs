//! The valid word that someone probably meant.

use super::renamed::new_name;
use strsim::damerau_levenshtein;

/// Words that a message lists before it only counts the rest.
const LISTED: usize = 64;

/// The keys of a kind of table, under its title.
pub(super) type Keys = (&'static str, Vec<&'static str>);

/// The candidate nearest to `word`, unless even that one differs in more than a
/// third of its letters. Of equally near ones, the first.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distances = candidates.into_iter().map(|candidate| {
        let distance = damerau_levenshtein(&word, &candidate.to_lowercase());
        (distance, candidate)
    });
    distances
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Words as people list them: "`a`, `b` and `c`".
pub(super) fn list(words: &[&str]) -> String {
    let listed = words.iter().take(LISTED);
    let mut quoted: Vec<String> = listed.map(|word| format!("`{word}`")).collect();
    if words.len() > LISTED {
        quoted.push(format!("{} more", words.len() - LISTED));
    }
    match quoted.as_slice() {
        [] => "none".into(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The next step for a value of `key` that is none of `words`.
pub(super) fn unknown_word_help(key: &str, word: &str, words: &[&str]) -> String {
    if let Some(new) = new_name(key, word) {
        return format!("\"{word}\" is now \"{new}\"");
    }
    let meant = nearest(word, words.iter().copied());
    let meant = meant.map_or_else(String::new, |near| format!("did you mean \"{near}\"? "));
    match words {
        [] => format!("there is no {key} to name"),
        [only] => format!("{meant}write `{only}`"),
        _ => format!("{meant}write one of {}", list(words)),
    }
}

/// The next step for a key that a table does not have. A key of another table is in the wrong place; otherwise it may be
/// a slip.
pub(super) fn unknown_key_help(key: &str, title: &str, keys: &[&str], others: &[Keys]) -> String {
    if let Some(new) = new_name("", key).filter(|new| keys.contains(new)) {
        return format!("`{key}` is now `{new}`");
    }
    let near = nearest(key, keys.iter().copied());
    // A letter too many or too few, sooner than a key in the wrong table.
    let is_slip = near.is_some_and(|near| {
        near.len().abs_diff(key.len()) == 1 && (near.starts_with(key) || key.starts_with(near))
    });
    let other = others.iter().find(|(_, keys)| keys.contains(&key));
    match (near, other) {
        (_, Some((other, _))) if !is_slip => {
            format!("`{key}` is a key of {other}; move the line there")
        }
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, _) => format!("the keys of {title} are {}", list(keys)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_does_not() {
        let keys = ["fuel", "memory", "every"];
        assert_eq!(nearest("fule", keys), Some("fuel"));
        assert_eq!(nearest("MEMORY", keys), Some("memory"));
        assert_eq!(nearest("colour", keys), None);
    }

    #[test]
    fn of_equally_near_words_the_first_is_named() {
        assert_eq!(nearest("bat", ["cat", "hat"]), Some("cat"));
    }

    #[test]
    fn lists_read_as_people_write_them() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
