//! Texts for the benches: made from sentences of our own, the same in every run, with personal data as sparse as in real prompts.

/// What a text is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// English prose.
    Prose,
    /// Source code in a few languages.
    Code,
    /// Chinese prose.
    Chinese,
}

/// Where the numbers begin.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// One sentence in so many carries a number, an address or a date that rules look at.
const RARE: usize = 40;

const SUBJECTS: &[&str] = &[
    "The committee",
    "Our neighbour",
    "A visiting engineer",
    "The second report",
    "My older sister",
    "The harbour master",
    "Each of the pupils",
    "The new supplier",
    "An early reader",
    "The night shift",
];
const VERBS: &[&str] = &[
    "described",
    "had not expected",
    "carefully compared",
    "set aside",
    "asked about",
    "remembered",
    "was pleased with",
    "wrote down",
    "questioned",
    "recommended",
];
const OBJECTS: &[&str] = &[
    "the results of the survey",
    "a small change to the plan",
    "the price of winter wheat",
    "several letters from the coast",
    "the long bridge over the river",
    "an older version of the story",
    "the way the machine was built",
    "a list of open questions",
    "the sound of the evening train",
    "what the map did not show",
];
const ENDINGS: &[&str] = &[
    "before the rain set in",
    "although nobody had asked",
    "while the others waited outside",
    "and explained it twice",
    "with more patience than usual",
    "in a few plain words",
    "because the deadline was near",
    "after the meeting in spring",
    "without naming a reason",
    "to everyone's surprise",
];
const RARITIES: &[&str] = &[
    "Please write to the office at info@example.org by 14 March.",
    "The invoice 2024-00817 came to 1,249.90 euros.",
    "Call 020 7946 0958 between nine and five.",
    "The server at 192.0.2.17 was restarted at 03:15.",
    "Order no. 4000 1234 5678 9010 is still open.",
    "See https://example.org/guide?chapter=3 for the rest.",
];

const LINES: &[&str] = &[
    "fn total(items: &[Item]) -> u64 { items.iter().map(|item| item.price * item.count).sum() }",
    "for (let index = 0; index < rows.length; index += 1) { render(rows[index], { depth: 2 }); }",
    "def load(path: str, limit: int = 100) -> list[dict]:",
    "    with open(path, encoding=\"utf-8\") as file: return [json.loads(line) for line in file][:limit]",
    "SELECT customer_id, SUM(amount) FROM payments WHERE created_at >= $1 GROUP BY customer_id ORDER BY 2 DESC;",
    "if (response.status !== 200) { throw new Error(`unexpected status ${response.status}`); }",
    "const MAX_RETRIES: usize = 5; // each one waits twice as long as the last",
    "public record Point(double x, double y) { double norm() { return Math.sqrt(x * x + y * y); } }",
    "docker run --rm --publish 8080:8080 --volume \"$PWD/config:/etc/app:ro\" app:latest serve --config /etc/app/app.yaml",
    "logger.info(\"request served\", extra={\"path\": path, \"milliseconds\": elapsed_ms})",
];
const CODE_RARITIES: &[&str] = &[
    "DATABASE_URL=postgres://app:app@localhost:5432/app",
    "sha = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
    "id: 3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "// reported by ops@example.org on 2024-05-06",
];

const CHINESE_SUBJECTS: &[&str] =
    &["委员会", "我们的邻居", "来访的工程师", "第二份报告", "我的姐姐", "港口主管", "每一位学生", "新的供应商", "最早的读者", "夜班同事"];
const CHINESE_VERBS: &[&str] = &["描述了", "没有料到", "仔细比较了", "搁置了", "询问了", "想起了", "很满意", "记录下", "质疑了", "推荐了"];
const CHINESE_OBJECTS: &[&str] = &[
    "调查的结果",
    "计划里的小改动",
    "冬小麦的价格",
    "海边寄来的几封信",
    "河上的长桥",
    "故事的旧版本",
    "机器的构造方式",
    "一串未解的问题",
    "傍晚列车的声音",
    "地图上没有的地方",
];
const CHINESE_RARITIES: &[&str] = &[
    "请在三月十四日之前写信到 info@example.org。",
    "发票编号 2024-00817，金额 1249.90 元。",
    "联系电话 13800138000，工作日九点到五点。",
    "服务器 192.0.2.17 于 03:15 重新启动。",
];

/// A text of at least `bytes_min` bytes and at most one sentence more.
pub fn text(kind: Kind, bytes_min: usize) -> String {
    made(&mut Numbers(SEED), kind, bytes_min)
}

/// Texts of that size, no two alike.
pub fn texts(kind: Kind, bytes_min: usize, count: usize) -> Vec<String> {
    let mut numbers = Numbers(SEED);
    (0..count).map(|_| made(&mut numbers, kind, bytes_min)).collect()
}

fn made(numbers: &mut Numbers, kind: Kind, bytes_min: usize) -> String {
    let mut text = String::with_capacity(bytes_min + 256);
    while text.len() < bytes_min {
        let rare = numbers.below(RARE) == 0;
        match kind {
            Kind::Prose if rare => push(&mut text, &[numbers.one_of(RARITIES), " "]),
            Kind::Prose => push(
                &mut text,
                &[numbers.one_of(SUBJECTS), " ", numbers.one_of(VERBS), " ", numbers.one_of(OBJECTS), " ", numbers.one_of(ENDINGS), ". "],
            ),
            Kind::Code if rare => push(&mut text, &[numbers.one_of(CODE_RARITIES), "\n"]),
            Kind::Code => push(&mut text, &[numbers.one_of(LINES), "\n"]),
            Kind::Chinese if rare => push(&mut text, &[numbers.one_of(CHINESE_RARITIES)]),
            Kind::Chinese => {
                push(&mut text, &[numbers.one_of(CHINESE_SUBJECTS), numbers.one_of(CHINESE_VERBS), numbers.one_of(CHINESE_OBJECTS), "。"])
            }
        }
    }
    text
}

fn push(text: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| text.push_str(part));
}

/// Numbers that are the same in every run (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_its_size_and_is_the_same_each_time() {
        for kind in [Kind::Prose, Kind::Code, Kind::Chinese] {
            for size in [0, 1, 1024, 100_000] {
                let made = text(kind, size);
                assert!((size..size + 256).contains(&made.len()), "{kind:?} {size}: {}", made.len());
                assert_eq!(made, text(kind, size));
            }
        }
    }
    #[test]
    fn texts_are_no_two_alike() {
        let made = texts(Kind::Prose, 1024, 1000);
        assert_eq!(made[0], text(Kind::Prose, 1024));
        assert_eq!(made.iter().collect::<std::collections::HashSet<_>>().len(), 1000);
    }
}
