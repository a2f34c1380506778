//! The patterns of a JSON schema that apply to one string.
//!
//! `llguidance` intersects them while it compiles the schema, before its result
//! can be looked at, so what that costs (see [`intersections`](super::intersections))
//! is bounded on the schema itself: what `allOf` and the keys beside a `$ref`,
//! `anyOf` or `oneOf` bring together counts as if all of it applied to one string.

use super::intersections::{PAIRS, width};
use llguidance::derivre::{RegexAst, RegexBuilder};
use llguidance::regex_to_lark;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Most entries of `patternProperties` in a schema: `llguidance` intersects each two of them.
const PATTERN_PROPERTIES: usize = 16;

/// Most of them in a schema that joins schemas, where it does so once for each join.
const JOINED_PATTERN_PROPERTIES: usize = 1;

/// Keys that join schemas if there are other keys beside them.
const JOINING: [&str; 3] = ["$ref", "anyOf", "oneOf"];

/// Keys that say nothing about a value.
const SILENT: [&str; 10] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "description",
    "examples",
    "title",
];

/// Refuses a schema whose patterns would take too long to intersect.
///
/// # Errors
/// Names what is too much, and the limit.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut counts = Counts::default();
    counts.add(schema);
    let most = if counts.joins {
        JOINED_PATTERN_PROPERTIES
    } else {
        PATTERN_PROPERTIES
    };
    if counts.pattern_properties > most {
        let joined = if counts.joins {
            " beside allOf, anyOf, oneOf or $ref with other keys"
        } else {
            ""
        };
        return Err(format!(
            "its patternProperties have {} entries in all, and at most {most} are taken{joined}; name the properties, or \
             take additionalProperties",
            counts.pattern_properties
        ));
    }
    let mut walk = Walk {
        root: schema,
        references: BTreeMap::new(),
        widths: BTreeMap::new(),
    };
    let pairs = walk.pairs(schema);
    let two = counts.patterns.iter().map(|pattern| walk.width(pattern));
    let widest = two.max().unwrap_or(1);
    let pairs = if counts.pattern_properties > 1 {
        pairs.max(widest.saturating_mul(widest))
    } else {
        pairs
    };
    if pairs > PAIRS {
        return Err(format!(
            "the patterns and formats that it brings together (by allOf, anyOf, oneOf, $ref with other keys, a length beside \
             a pattern, or patternProperties) take {pairs} pairs to intersect, and at most {PAIRS} are taken; join fewer \
             patterns, or shorter ones"
        ));
    }
    Ok(())
}

/// Counts over a whole schema.
#[derive(Default)]
struct Counts<'s> {
    pattern_properties: usize,
    patterns: Vec<&'s str>,
    joins: bool,
}

impl<'s> Counts<'s> {
    fn add(&mut self, value: &'s Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.add(value)),
            Value::Object(object) => {
                if let Some(Value::Object(entries)) = object.get("patternProperties") {
                    self.pattern_properties += entries.len();
                    self.patterns.extend(entries.keys().map(String::as_str));
                }
                self.joins |= object.contains_key("allOf");
                let others = object.keys().filter(|key| !SILENT.contains(&key.as_str()));
                let is_joining = JOINING.iter().any(|key| object.contains_key(*key));
                self.joins |= is_joining && others.count() > 1;
                object.values().for_each(|value| self.add(value));
            }
            _ => {}
        }
    }
}

struct Walk<'s> {
    root: &'s Value,
    /// Pairs of what a reference leads to. One that leads to itself through a join is refused by `llguidance`, so it
    /// counts as nothing until it is known.
    references: BTreeMap<&'s str, u64>,
    widths: BTreeMap<String, u64>,
}

impl<'s> Walk<'s> {
    /// Most pairs of one string of a schema.
    fn pairs(&mut self, schema: &'s Value) -> u64 {
        let Value::Object(object) = schema else {
            return 1;
        };
        let mut pairs = self.own(object);
        for list in ["allOf", "anyOf", "oneOf"] {
            let parts = object.get(list).and_then(Value::as_array);
            let parts = parts.into_iter().flatten();
            let parts: Vec<u64> = parts.map(|part| self.pairs(part)).collect();
            let joined = if list == "allOf" {
                parts.into_iter().fold(1, u64::saturating_mul)
            } else {
                parts.into_iter().max().unwrap_or(1)
            };
            pairs = pairs.saturating_mul(joined);
        }
        match object.get("$ref").and_then(Value::as_str) {
            Some(reference) => pairs.saturating_mul(self.referred(reference)),
            None => pairs,
        }
    }

    /// Pairs by the keys of one schema, or of one below it.
    fn own(&mut self, object: &'s Map<String, Value>) -> u64 {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let mut own = text("pattern").map_or(1, |pattern| self.width(pattern));
        // All formats are known, and the widest begins with fewer.
        own = own.saturating_mul(text("format").map_or(1, |_| 32));
        if object.contains_key("minLength") || object.contains_key("maxLength") {
            own = own.saturating_mul(self.width("^.$"));
        }
        for (key, value) in object {
            let below = match (key.as_str(), value) {
                ("properties" | "patternProperties", Value::Object(members)) => {
                    members.values().map(|value| self.pairs(value)).max()
                }
                ("items" | "prefixItems", Value::Array(members)) => {
                    members.iter().map(|value| self.pairs(value)).max()
                }
                ("items" | "additionalItems" | "additionalProperties", value) => {
                    Some(self.pairs(value))
                }
                _ => None,
            };
            own = own.max(below.unwrap_or(1));
        }
        own
    }

    fn referred(&mut self, reference: &'s str) -> u64 {
        if let Some(pairs) = self.references.get(reference) {
            return *pairs;
        }
        self.references.insert(reference, 1);
        let steps = reference.trim_start_matches("#/").split('/');
        let mut steps = steps.filter(|step| !matches!(*step, "" | "#"));
        let target = steps.try_fold(self.root, |value, step| match value {
            Value::Array(values) => values.get(step.parse::<usize>().ok()?),
            value => value.get(step),
        });
        let pairs = target.map_or(1, |target| self.pairs(target));
        self.references.insert(reference, pairs);
        pairs
    }

    /// What a pattern may begin with. One that is no regular expression is for `llguidance` to refuse.
    fn width(&mut self, pattern: &str) -> u64 {
        if let Some(width) = self.widths.get(pattern) {
            return *width;
        }
        let mut builder = RegexBuilder::new();
        let ast = RegexAst::SearchRegex(regex_to_lark(pattern, "dw"));
        let width = builder
            .mk(&ast)
            .map_or(1, |expression| width(builder.exprset(), expression));
        self.widths.insert(pattern.to_owned(), width);
        width
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pairs(schema: &Value) -> u64 {
        Walk {
            root: schema,
            references: BTreeMap::new(),
            widths: BTreeMap::new(),
        }
        .pairs(schema)
    }

    #[test]
    fn patterns_count_together_only_where_they_may_apply_to_one_string() {
        let one = json!({ "type": "string", "pattern": "^[a-c]+$" });
        let width = pairs(&one);
        assert!(width > 0);
        let apart = json!({ "properties": { "a": one, "b": one }, "anyOf": [{}, {}] });
        assert_eq!(pairs(&apart), width);
        let joined =
            json!({ "properties": { "a": one }, "allOf": [{ "properties": { "a": one } }] });
        assert_eq!(pairs(&joined), width * width);
        let referred = json!({ "$ref": "#/$defs/a", "pattern": "^[a-c]+$", "$defs": { "a": one } });
        assert_eq!(pairs(&referred), width * width);
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_walked_once() {
        let list =
            json!({ "properties": { "next": { "$ref": "#" }, "name": { "pattern": "^a|b$" } } });
        assert!(pairs(&list) > 1);
        assert_eq!(check(&list), Ok(()));
    }

    #[test]
    fn schemas_in_use_are_taken() {
        let when = json!({ "type": "string", "format": "date-time" });
        let base = json!({ "properties": { "made": when, "name": { "type": "string", "minLength": 1, "maxLength": 80 } } });
        let schema = json!({
            "$defs": { "base": base },
            "allOf": [{ "$ref": "#/$defs/base" }],
            "properties": { "changed": when, "id": { "type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}$" } },
        });
        assert_eq!(check(&schema), Ok(()));
        let labels = json!({ "patternProperties": { "^x-": { "type": "string" }, "^y-": {} } });
        assert_eq!(check(&labels), Ok(()));
    }

    #[test]
    fn the_number_of_pattern_properties_is_bounded() {
        let schema = |count: usize| {
            let entries = (0..count).map(|number| (format!("^{number}$"), json!({})));
            json!({ "patternProperties": entries.collect::<Map<_, _>>() })
        };
        assert_eq!(check(&schema(PATTERN_PROPERTIES)), Ok(()));
        let said = check(&schema(PATTERN_PROPERTIES + 1)).expect_err("one too many");
        assert!(
            said.contains("17 entries") && said.contains("at most 16"),
            "{said}"
        );
        let mut joined = schema(2);
        joined["allOf"] = json!([{}]);
        let said = check(&joined).expect_err("it joins");
        assert!(said.contains("at most 1 are taken beside"), "{said}");
    }
}
