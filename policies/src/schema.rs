//! JSON Schemas of the files people write, for editors.

/// The schema of a pack file.
pub const PACK_SCHEMA: &str = include_str!("../schema/pack.schema.json");
/// The schema of a policy file.
pub const POLICY_SCHEMA: &str = include_str!("../schema/policy.schema.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::Policy;

    /// What a schema says of the object at a pointer: the keys it may have.
    fn keys(schema: &str, pointer: &str) -> BTreeSet<String> {
        let schema: Value = serde_json::from_str(schema).unwrap();
        let object = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
        assert_eq!(object["additionalProperties"], false, "{pointer}");
        object["properties"].as_object().unwrap().keys().cloned().collect()
    }

    /// The keys that reading takes, from what it complains about one that is none: "unknown field `zzz`, expected one of `a`, `b`".
    fn taken(policy: &str, pack: &str) -> BTreeSet<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), pack).unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, policy).unwrap();
        let complaint = Policy::load(&path).unwrap_err().to_string();
        let (_, expected) =
            complaint.split_once("zzz").and_then(|(_, rest)| rest.split_once("expected")).unwrap_or_else(|| panic!("{complaint}"));
        let expected = expected.split(" at line").next().unwrap_or_default();
        let expected = expected.split("; did you mean").next().unwrap_or_default();
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        expected.split(word).filter(|word| !word.is_empty() && !["one", "of", "or"].contains(word)).map(str::to_owned).collect()
    }

    #[test]
    fn the_schemas_know_the_keys_that_are_read() {
        let rule = |keys: &str| format!("pack: p\nrules:\n  - {{ {keys} }}\n");
        let sound = "name: p\npacks: [p.yaml]\n";
        for (pointer, pack) in [
            ("", "zzz: 1\n".to_owned()),
            ("/$defs/rule", rule("zzz: 1")),
            ("/$defs/variant", rule("variants: [{ zzz: 1 }]")),
            ("/$defs/context", rule("context: { zzz: 1 }")),
        ] {
            assert_eq!(keys(PACK_SCHEMA, pointer), taken(sound, &pack), "pack{pointer}");
        }
        for (pointer, policy) in [
            ("", "zzz: 1\n"),
            ("/$defs/actions", "actions: { zzz: 1 }\n"),
            ("/$defs/override", "rules: { A: { zzz: 1 } }\n"),
            ("/$defs/guard", "guard: { zzz: 1 }\n"),
            ("/$defs/redaction", "redaction: { zzz: 1 }\n"),
            ("/$defs/exception", "exceptions: [{ zzz: 1 }]\n"),
            ("/$defs/allow_list", "allow_lists: [{ zzz: 1 }]\n"),
            ("/$defs/deny_list", "deny_lists: [{ zzz: 1 }]\n"),
            ("/$defs/canary", "canaries: [{ zzz: 1 }]\n"),
            ("/$defs/messages", "refusal_messages: { zzz: 1 }\n"),
            ("/$defs/test", "tests: [{ zzz: 1 }]\n"),
        ] {
            assert_eq!(keys(POLICY_SCHEMA, pointer), taken(policy, ""), "policy{pointer}");
        }
    }
}
