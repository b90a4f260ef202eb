//! Configuration: from JSON to the policy's own type, with the path of what does not fit.

use serde::de::DeserializeOwned;

use crate::Problem;

/// Reads a configuration. The problem names the key, such as `groups[2].name`, or `.` for the whole.
pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Vec<Problem>> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        // The position within the JSON means nothing to somebody who wrote TOML.
        let whole = error.into_inner().to_string();
        let message = whole
            .split_once(" at line ")
            .map_or(whole.as_str(), |(message, _)| message);
        vec![Problem {
            path,
            message: message.to_owned(),
        }]
    })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only parsed")]
    struct Config {
        bounds: Vec<u32>,
    }

    #[test]
    fn a_problem_names_the_key() {
        let problems = parse::<Config>(r#"{"bounds": [1, "two"]}"#).unwrap_err();
        assert_eq!(problems[0].path, "bounds[1]");
        assert_eq!(
            problems[0].message,
            "invalid type: string \"two\", expected u32"
        );
    }

    #[test]
    fn an_unknown_key_is_named() {
        let problems = parse::<Config>(r#"{"bounds": [], "bonds": 1}"#).unwrap_err();
        assert!(problems[0].message.contains("`bonds`"), "{problems:?}");
    }
}
