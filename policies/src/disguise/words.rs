//! The words that attacks are made of.

use std::collections::HashSet;
use std::sync::OnceLock;

/// Words whose disguised shape gives a disguise away: long enough that ordinary text does not show them by chance.
pub(super) const ATTACKS: &[&str] = &[
    "ignore", "disregard", "forget", "previous", "instruction", "prompt", "system", "reveal", "rules", "password", "pretend", "jailbreak",
    "bypass", "override", "restriction", "guideline", "unfiltered", "explosive",
];

/// The same in Chinese.
pub(super) const ATTACKS_ZH: &[&str] = &["忽略", "忽视", "无视", "忘记", "指令", "指示", "提示词", "规则", "扮演", "限制"];

/// Words that stand beside them. One letter out of place and there is no word, so the list serves to tell words apart, not to find them.
const OTHERS: &[&str] = &[
    "a", "i", "about", "above", "access", "act", "address", "admin", "after", "all", "always", "an", "and", "answer", "any", "anything", "are",
    "as", "assistant", "at", "be", "before", "below", "bomb", "build", "but", "by", "can", "cannot", "card", "censored", "chat", "code",
    "comply", "confidential", "constraints", "content", "context", "conversation", "create", "credit", "customer", "data", "database",
    "dan", "delete", "developer", "directions", "directives", "directive", "discard", "do", "does", "dont", "drug", "drugs", "earlier", "email",
    "enable", "ethical", "ethics", "every", "everything", "evil", "execute", "explain", "file", "files", "filter", "filters", "first",
    "follow", "following", "for", "free", "freely", "from", "full", "give", "given", "go", "guidance", "guidelines", "hack", "had", "hack",
    "has", "have", "hello", "help", "her", "hidden", "him", "his", "how", "if", "illegal", "in", "initial", "instead", "instructions", "into",
    "is", "it", "its", "key", "keys", "kill", "laws", "let", "like", "limit", "limitations", "limits", "line", "list", "longer", "made", "make",
    "malware", "me", "message", "messages", "meth", "mine", "mode", "model", "moral", "must", "my", "never", "new", "no", "not", "nothing", "now", "obey",
    "of", "off", "on", "one", "only", "or", "original", "other", "our", "out", "output", "passwords", "person", "play", "please", "policies",
    "policy", "print", "prior", "privacy", "private", "programming", "prompts", "provide", "question", "receive", "received", "refuse",
    "repeat", "reply", "respond", "response", "restrictions", "role", "rule", "safe", "safety", "say", "secret", "secrets", "security", "send",
    "set", "settings", "should", "show", "so", "start", "steal", "step", "steps", "stop", "tell", "text", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "those", "to", "told", "tool", "training", "unrestricted", "up", "use", "user", "users", "verbatim",
    "virus", "void", "was", "we", "weapon", "were", "what", "whatever", "when", "which", "who", "will", "with", "without", "word", "words", "write",
    "you", "your",
];

/// Longest word of the lists, in letters.
pub(super) const WORD_LETTERS_MAX: usize = 12;

/// Returns true for a word that gives a disguise away; in lower case.
pub(super) fn is_attack(word: &str) -> bool {
    let stem = word.strip_suffix('s').unwrap_or(word);
    ATTACKS.contains(&word) || ATTACKS.contains(&stem)
}

/// Returns true for a word of either list; in lower case.
pub(super) fn is_known(word: &str) -> bool {
    static KNOWN: OnceLock<HashSet<&str>> = OnceLock::new();
    KNOWN.get_or_init(|| ATTACKS.iter().chain(OTHERS).copied().collect()).contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_longer_than_is_said() {
        let longest = ATTACKS.iter().chain(OTHERS).map(|word| word.len()).max();
        assert_eq!(longest, Some(WORD_LETTERS_MAX));
    }
}
