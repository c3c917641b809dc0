//! The titles of controls in Chinese. The frameworks' own texts are in English (PIPL's in Chinese); these are translations for readers.

/// A title in English and in Chinese.
const TITLES: &[(&str, &str)] = &[
    // OWASP Top 10 for LLM Applications, 2025 and 2026
    ("Prompt Injection", "提示词注入"),
    ("Sensitive Information Disclosure", "敏感信息泄露"),
    ("Supply Chain", "供应链"),
    ("Data and Model Poisoning", "数据与模型投毒"),
    ("Improper Output Handling", "输出处理不当"),
    ("Excessive Agency", "过度代理"),
    ("System Prompt Leakage", "系统提示词泄露"),
    ("Vector and Embedding Weaknesses", "向量与嵌入的弱点"),
    ("Misinformation", "错误信息"),
    ("Unbounded Consumption", "无限制消耗"),
    ("Hidden Context Exposure", "隐藏上下文暴露"),
    // MITRE ATLAS
    ("LLM Prompt Injection: Direct", "LLM 提示词注入：直接"),
    ("LLM Prompt Injection: Indirect", "LLM 提示词注入：间接"),
    ("AI Agent Tool Invocation", "调用 AI 智能体的工具"),
    ("LLM Jailbreak", "LLM 越狱"),
    ("Extract LLM System Prompt", "提取 LLM 系统提示词"),
    ("LLM Data Leakage", "LLM 数据泄露"),
    ("LLM Prompt Crafting", "构造 LLM 提示词"),
    ("LLM Prompt Obfuscation", "混淆 LLM 提示词"),
    ("Discover LLM System Information: Special Character Sets", "探测 LLM 系统信息：特殊字符集"),
    ("Discover LLM System Information: System Instruction Keywords", "探测 LLM 系统信息：系统指令关键词"),
    ("LLM Response Rendering", "渲染 LLM 回答"),
    ("Exfiltration via AI Agent Tool Invocation", "借 AI 智能体的工具调用外传数据"),
    ("Manipulate User LLM Chat History", "篡改用户的 LLM 对话历史"),
    ("AI Agent Tool Data Poisoning", "AI 智能体工具数据投毒"),
    ("AI Agent Tool Poisoning", "AI 智能体工具投毒"),
    // GDPR
    ("Personal data", "个人数据"),
    ("Special categories of personal data", "特殊类别的个人数据"),
    ("Pseudonymisation: requests redacted or pseudonymised", "假名化：已脱敏或假名化的请求"),
    // PCI DSS
    ("Sensitive authentication data is not stored after authorization", "授权后不存储敏感验证数据"),
    ("Access to displays of full account numbers and ability to copy them are restricted", "限制查看与复制完整账号"),
    ("All invalid logical access attempts are logged", "记录所有无效的逻辑访问尝试"),
    (
        "Audit logs are protected from unauthorized modifications: events whose chain was checked",
        "审计日志防止未经授权的修改：已检查事件链的事件",
    ),
    // HIPAA
    ("Identifiers to remove for de-identification", "去标识化须移除的标识符"),
    ("Audit controls: events on record", "审计控制：记录的事件"),
    ("Integrity: events whose chain was checked", "完整性：已检查事件链的事件"),
    // PIPL
    ("Personal information 个人信息", "个人信息"),
    ("Sensitive personal information 敏感个人信息", "敏感个人信息"),
    ("De-identification 去标识化: requests redacted or pseudonymised", "去标识化：已脱敏或假名化的请求"),
    // EU AI Act, Article 12
    ("Events are recorded automatically", "自动记录事件"),
    ("Situations that may result in a risk: high-risk requests and answers", "可能导致风险的情形：高风险请求与回答"),
    ("Post-market monitoring: answers with outcome, latencies, tokens", "上市后监测：带结果、延迟与 token 用量的回答"),
    ("Monitoring of the operation: requests with the policy that decided", "运行监测：带处置策略的请求"),
];

/// The title in Chinese; as it is where there is none.
pub(super) fn chinese(title: &str) -> &str {
    TITLES.iter().find(|(english, _)| *english == title).map_or(title, |(_, chinese)| chinese)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Catalogue, Report, coverage};

    #[test]
    fn every_title_has_one_translation() {
        for framework in coverage(&Report::default(), None, &Catalogue::default()) {
            for control in framework.controls {
                assert_ne!(chinese(&control.title), control.title, "{}", control.control);
            }
        }
        for (english, _) in TITLES {
            assert_eq!(TITLES.iter().filter(|(other, _)| other == english).count(), 1, "{english}");
        }
    }
}
