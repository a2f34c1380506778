//! Limits on the patterns of a JSON schema that apply to one string.
//!
//! `llguidance` intersects them while it compiles the schema, before its result can be looked at, so the cost (see
//! [`regex_intersections`](super::regex_intersections)) is limited on the schema itself: patterns that `allOf`, or the
//! keys beside a `$ref`, `anyOf` or `oneOf`, combine count as if all of them applied to one string.

use super::regex_intersections::{MAX_PAIRS, branch_count};
use llguidance::derivre::{RegexAst, RegexBuilder};
use llguidance::regex_to_lark;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Most entries of `patternProperties` in a schema: `llguidance` intersects each pair of them.
const MAX_PATTERN_PROPERTIES: usize = 16;

/// The limit for a schema that combines schemas, where it does so for each combination.
const MAX_JOINED_PATTERN_PROPERTIES: usize = 1;

/// Keys that combine schemas if there are other keys beside them.
const JOINING_KEYS: [&str; 3] = ["$ref", "anyOf", "oneOf"];

/// Keys that do not constrain a value.
const ANNOTATIONS: [&str; 10] = [
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
/// Names the count that is too high, and the limit.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut counts = SchemaCounts::default();
    counts.add(schema);
    let limit = if counts.joins {
        MAX_JOINED_PATTERN_PROPERTIES
    } else {
        MAX_PATTERN_PROPERTIES
    };
    if counts.pattern_properties > limit {
        let joined = if counts.joins {
            " beside allOf, anyOf, oneOf or $ref with other keys"
        } else {
            ""
        };
        return Err(format!(
            "its patternProperties have {} entries in all, and the limit is {limit}{joined}; name the properties, or \
             use additionalProperties",
            counts.pattern_properties
        ));
    }
    let mut walk = SchemaWalk {
        root: schema,
        references: BTreeMap::new(),
        branch_counts: BTreeMap::new(),
    };
    let pairs = walk.pairs(schema);
    let branches = counts
        .patterns
        .iter()
        .map(|pattern| walk.branches_of(pattern));
    let max_branches = branches.max().unwrap_or(1);
    let pairs = if counts.pattern_properties > 1 {
        pairs.max(max_branches.saturating_mul(max_branches))
    } else {
        pairs
    };
    if pairs > MAX_PAIRS {
        return Err(format!(
            "the patterns and formats that it combines (by allOf, anyOf, oneOf, $ref with other keys, a length beside \
             a pattern, or patternProperties) take {pairs} pairs to intersect, and the limit is {MAX_PAIRS}; combine \
             fewer patterns, or shorter ones"
        ));
    }
    Ok(())
}

/// Counts over a whole schema.
#[derive(Default)]
struct SchemaCounts<'s> {
    pattern_properties: usize,
    patterns: Vec<&'s str>,
    joins: bool,
}

impl<'s> SchemaCounts<'s> {
    fn add(&mut self, value: &'s Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.add(value)),
            Value::Object(object) => {
                if let Some(Value::Object(entries)) = object.get("patternProperties") {
                    self.pattern_properties += entries.len();
                    self.patterns.extend(entries.keys().map(String::as_str));
                }
                self.joins |= object.contains_key("allOf");
                let others = object
                    .keys()
                    .filter(|key| !ANNOTATIONS.contains(&key.as_str()));
                let is_joining = JOINING_KEYS.iter().any(|key| object.contains_key(*key));
                self.joins |= is_joining && others.count() > 1;
                object.values().for_each(|value| self.add(value));
            }
            _ => {}
        }
    }
}

struct SchemaWalk<'s> {
    root: &'s Value,
    /// Pairs of the targets of references. `llguidance` refuses a reference that leads back to itself, so one counts as
    /// nothing while its target is walked.
    references: BTreeMap<&'s str, u64>,
    branch_counts: BTreeMap<String, u64>,
}

impl<'s> SchemaWalk<'s> {
    /// Most pairs of one string of a schema.
    fn pairs(&mut self, schema: &'s Value) -> u64 {
        let Value::Object(object) = schema else {
            return 1;
        };
        let mut pairs = self.own_pairs(object);
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
            Some(reference) => pairs.saturating_mul(self.ref_pairs(reference)),
            None => pairs,
        }
    }

    /// Pairs by the keys of one schema, or of one below it.
    fn own_pairs(&mut self, object: &'s Map<String, Value>) -> u64 {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let mut own = text("pattern").map_or(1, |pattern| self.branches_of(pattern));
        // No known format has more branches.
        own = own.saturating_mul(text("format").map_or(1, |_| 32));
        if object.contains_key("minLength") || object.contains_key("maxLength") {
            own = own.saturating_mul(self.branches_of("^.$"));
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

    fn ref_pairs(&mut self, reference: &'s str) -> u64 {
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

    /// The branches of a pattern. One that is no regular expression is refused by `llguidance`.
    fn branches_of(&mut self, pattern: &str) -> u64 {
        if let Some(branches) = self.branch_counts.get(pattern) {
            return *branches;
        }
        let mut builder = RegexBuilder::new();
        let ast = RegexAst::SearchRegex(regex_to_lark(pattern, "dw"));
        let branches = builder
            .mk(&ast)
            .map_or(1, |expression| branch_count(builder.exprset(), expression));
        self.branch_counts.insert(pattern.to_owned(), branches);
        branches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pairs(schema: &Value) -> u64 {
        SchemaWalk {
            root: schema,
            references: BTreeMap::new(),
            branch_counts: BTreeMap::new(),
        }
        .pairs(schema)
    }

    #[test]
    fn only_patterns_that_apply_to_one_string_are_multiplied() {
        let one = json!({ "type": "string", "pattern": "^[a-c]+$" });
        let branches = pairs(&one);
        assert!(branches > 0);
        let apart = json!({ "properties": { "a": one, "b": one }, "anyOf": [{}, {}] });
        assert_eq!(pairs(&apart), branches);
        let joined =
            json!({ "properties": { "a": one }, "allOf": [{ "properties": { "a": one } }] });
        assert_eq!(pairs(&joined), branches * branches);
        let referred = json!({ "$ref": "#/$defs/a", "pattern": "^[a-c]+$", "$defs": { "a": one } });
        assert_eq!(pairs(&referred), branches * branches);
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_walked_once() {
        let list =
            json!({ "properties": { "next": { "$ref": "#" }, "name": { "pattern": "^a|b$" } } });
        assert!(pairs(&list) > 1);
        assert_eq!(check(&list), Ok(()));
    }

    #[test]
    fn common_schemas_are_within_the_limits() {
        let when = json!({ "type": "string", "format": "date-time" });
        let name = json!({ "type": "string", "minLength": 1, "maxLength": 80 });
        let base = json!({ "properties": { "made": when, "name": name } });
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
    fn the_number_of_pattern_properties_is_limited() {
        let schema = |count: usize| {
            let entries = (0..count).map(|number| (format!("^{number}$"), json!({})));
            json!({ "patternProperties": entries.collect::<Map<_, _>>() })
        };
        assert_eq!(check(&schema(MAX_PATTERN_PROPERTIES)), Ok(()));
        let said = check(&schema(MAX_PATTERN_PROPERTIES + 1)).expect_err("one too many");
        assert!(
            said.contains("17 entries") && said.contains("limit is 16"),
            "{said}"
        );
        let mut joined = schema(2);
        joined["allOf"] = json!([{}]);
        let said = check(&joined).expect_err("it joins");
        assert!(said.contains("limit is 1 beside"), "{said}");
    }
}
