//! Reading the `settings` that a fleet file gives to an agent.

use crate::Config;
use std::fmt::Display;
use std::str::FromStr;

/// The value of a setting, if the fleet file has it.
pub fn get<'a>(config: &'a Config, key: &str) -> Option<&'a str> {
    config
        .settings
        .iter()
        .find(|(candidate, _)| candidate == key)
        .map(|(_, value)| value.as_str())
}

/// The value of a setting, or `default` where the fleet file has none.
pub fn text<'a>(config: &'a Config, key: &str, default: &'a str) -> &'a str {
    get(config, key).unwrap_or(default)
}

/// The value of a setting as a number or the like, or `default` where the
/// fleet file has none. The error is meant to be returned from `init`.
pub fn parse<T>(config: &Config, key: &str, default: T) -> Result<T, String>
where
    T: FromStr,
    T::Err: Display,
{
    match get(config, key) {
        None => Ok(default),
        Some(value) => value
            .parse()
            .map_err(|error| format!("setting `{key}` is \"{value}\": {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &[(&str, &str)]) -> Config {
        Config {
            name: "agent".into(),
            id: 0,
            settings: settings
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
        }
    }

    #[test]
    fn a_missing_setting_is_its_default() {
        assert_eq!(text(&config(&[]), "model", "policy"), "policy");
        assert_eq!(parse(&config(&[]), "every", 7_u64), Ok(7));
    }

    #[test]
    fn a_setting_is_parsed_or_quoted_in_the_error() {
        let config = config(&[("every", "12"), ("rows", "many")]);
        assert_eq!(parse(&config, "every", 7_u64), Ok(12));
        assert_eq!(
            parse(&config, "rows", 1_u32).unwrap_err(),
            "setting `rows` is \"many\": invalid digit found in string"
        );
    }
}
