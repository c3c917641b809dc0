//! Inheritance: a policy that extends another, laid over it.
//!
//! The base comes first, whatever extends it after it, the file that was asked for last. A later file replaces an action, an override,
//! a threshold, a setting; it adds packs, disabled rules, lists, exceptions and tests. The tests of every file hold for the result.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::address::ClientAddress;
use crate::canary::CanaryForm;
use crate::choice::ChoiceForm;
use crate::error::{Fault, PolicyError};
use crate::file;
use crate::lists::ListForms;
use crate::load::Reading;
use crate::model::{Action, Category, Direction, Mode, Unscreenable};
use crate::policy_form::{OnKnown, OverrideForm, PolicyForm, RedactionForm, TestForm, Unavailable};
use crate::refuse::{LanguageForm, MessagesForm};

/// Most files in a line of inheritance.
const DEPTH_MAX: usize = 8;

/// One policy file, read.
pub(crate) struct Source {
    pub path: Arc<Path>,
    pub form: PolicyForm,
}

impl Source {
    /// Returns a fault in this file.
    pub(crate) fn fault(&self, line: u64, subject: &str, reason: impl Into<String>) -> Fault {
        Fault { path: self.path.to_path_buf(), line, subject: subject.to_owned(), reason: reason.into() }
    }

    /// Returns the path of a file that is named in this one.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new(".")).join(name)
    }
}

/// Something with the place where it is written.
#[derive(Clone)]
pub(crate) struct Placed<T> {
    pub path: Arc<Path>,
    pub line: u64,
    pub value: T,
}

/// Reads a policy and all that it extends; the base comes first.
pub(crate) fn sources(path: &Path, reading: &mut Reading<'_>) -> Result<Vec<Source>, PolicyError> {
    let mut sources: Vec<Source> = Vec::new();
    let mut seen = HashSet::new();
    let mut next = path.to_path_buf();
    loop {
        if let (Some(last), Ok(real)) = (sources.last(), next.canonicalize())
            && let Some(extends) = &last.form.extends
        {
            let line = extends.referenced.line();
            if seen.contains(&real) {
                let reason = format!("{} extends itself, through {} files", extends.value, sources.len());
                return Err(last.fault(line, "extends", reason).into());
            }
            if sources.len() == DEPTH_MAX {
                return Err(last.fault(line, "extends", format!("more than {DEPTH_MAX} files deep")).into());
            }
        }
        let yaml = read(reading, &next, sources.last())?;
        if let Ok(real) = next.canonicalize() {
            seen.insert(real);
        }
        let form: PolicyForm = file::from_yaml(&next, &yaml)?;
        let source = Source { path: next.as_path().into(), form };
        let base = source.form.extends.as_ref().map(|base| source.beside(&base.value));
        sources.push(source);
        match base {
            Some(base) => next = base,
            None => break,
        }
    }
    sources.reverse();
    Ok(sources)
}

/// Reads a file; what is wrong with it is told where it is named.
fn read(reading: &mut Reading<'_>, path: &Path, child: Option<&Source>) -> Result<String, PolicyError> {
    reading.read(path).map_err(|error| match (error, child) {
        (PolicyError::Unreadable { path, source }, Some(child)) if source.kind() == std::io::ErrorKind::NotFound => {
            let line = child.form.extends.as_ref().map_or(1, |extends| extends.referenced.line());
            child.fault(line, "extends", format!("there is no file {}", path.display())).into()
        }
        (error, _) => error,
    })
}

/// Everything that the files of a policy say, laid over each other.
pub(crate) struct Settings {
    pub name: String,
    pub mode: Mode,
    pub threshold: f32,
    /// For requests and for responses.
    pub actions: [BTreeMap<Category, ChoiceForm>; 2],
    pub rules: BTreeMap<String, OverrideForm>,
    /// Where each of them is written, for the last time.
    pub rules_at: BTreeMap<String, (Arc<Path>, u64)>,
    pub redaction: RedactionForm,
    pub guard: Guard,
    pub lists: ListForms,
    pub canaries: Vec<Placed<CanaryForm>>,
    pub refusal_language: LanguageForm,
    pub refusal_messages: MessagesForm,
    pub unscreenable: Vec<Unscreenable>,
    pub on_decoding_budget: Action,
    pub store_redacted_text: bool,
    pub client_address: ClientAddress,
    pub tests: Vec<Placed<TestForm>>,
}

/// What the classifier's score means.
#[derive(Clone, Copy)]
pub(crate) struct Guard {
    pub flag_at: f32,
    pub block_at: f32,
    pub unavailable: Unavailable,
    pub known: OnKnown,
}

impl Settings {
    /// Lays the files over each other.
    pub(crate) fn new(sources: &[Source]) -> Self {
        let mut settings = Self {
            name: String::new(),
            mode: Mode::Enforce,
            threshold: 0.5,
            actions: [BTreeMap::new(), BTreeMap::new()],
            rules: BTreeMap::new(),
            rules_at: BTreeMap::new(),
            redaction: RedactionForm::default(),
            guard: Guard { flag_at: 0.7, block_at: 0.9, unavailable: Unavailable::Block, known: OnKnown::Block },
            lists: ListForms::default(),
            canaries: Vec::new(),
            refusal_language: LanguageForm::Auto,
            refusal_messages: MessagesForm::default(),
            unscreenable: Vec::new(),
            on_decoding_budget: Action::Flag,
            store_redacted_text: false,
            client_address: ClientAddress::Full,
            tests: Vec::new(),
        };
        for source in sources {
            settings.lay(source);
        }
        settings
    }

    fn lay(&mut self, source: &Source) {
        let form = &source.form;
        self.name.clone_from(&form.name);
        replace(&mut self.mode, form.mode);
        replace(&mut self.threshold, form.threshold);
        for direction in Direction::ALL {
            let written = form.actions.of(direction).iter().map(|(category, choice)| (*category, choice.value.clone()));
            self.actions[direction as usize].extend(written);
        }
        for (id, own) in &form.rules {
            self.rules.entry(id.clone()).or_default().lay(&own.value);
            self.rules_at.insert(id.clone(), (Arc::clone(&source.path), own.referenced.line()));
        }
        self.redaction.lay(&form.redaction);
        replace(&mut self.guard.flag_at, form.guard.flag_at);
        replace(&mut self.guard.block_at, form.guard.block_at);
        replace(&mut self.guard.unavailable, form.guard.unavailable);
        replace(&mut self.guard.known, form.guard.known);
        self.lists.exceptions.extend(form.exceptions.iter().map(|exception| source.placed(exception)));
        self.lists.allow.extend(form.allow_lists.iter().map(|list| source.placed(list)));
        self.lists.deny.extend(form.deny_lists.iter().map(|list| source.placed(list)));
        self.canaries.extend(form.canaries.iter().map(|canary| source.placed(canary)));
        replace(&mut self.refusal_language, form.refusal_language);
        let MessagesForm { en, zh } = form.refusal_messages.clone();
        self.refusal_messages.en = en.or(self.refusal_messages.en.take());
        self.refusal_messages.zh = zh.or(self.refusal_messages.zh.take());
        replace(&mut self.unscreenable, form.unscreenable.clone());
        replace(&mut self.on_decoding_budget, form.on_decoding_budget.map(Action::from));
        replace(&mut self.store_redacted_text, form.store_redacted_text);
        replace(&mut self.client_address, form.client_address);
        self.tests.extend(form.tests.iter().map(|test| source.placed(test)));
    }
}

impl Source {
    /// Returns something of this file with its place.
    pub(crate) fn placed<T: Clone>(&self, written: &serde_saphyr::Spanned<T>) -> Placed<T> {
        Placed { path: Arc::clone(&self.path), line: written.referenced.line(), value: written.value.clone() }
    }
}

fn replace<T>(old: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *old = new;
    }
}

impl OverrideForm {
    fn lay(&mut self, later: &OverrideForm) {
        let OverrideForm { request, response, monitor, threshold, redaction } = later.clone();
        self.request = request.or(self.request.take());
        self.response = response.or(self.response.take());
        self.monitor = monitor.or(self.monitor);
        self.threshold = threshold.or(self.threshold);
        self.redaction = redaction.or(self.redaction);
    }
}

impl RedactionForm {
    fn lay(&mut self, later: &RedactionForm) {
        let RedactionForm { key_env, pii, secret, injection, jailbreak, code_attack, sensitive } = later.clone();
        self.key_env = key_env.or(self.key_env.take());
        self.pii = pii.or(self.pii);
        self.secret = secret.or(self.secret);
        self.injection = injection.or(self.injection);
        self.jailbreak = jailbreak.or(self.jailbreak);
        self.code_attack = code_attack.or(self.code_attack);
        self.sensitive = sensitive.or(self.sensitive);
    }
}
