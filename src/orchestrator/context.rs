//! Cutting what a bot is shown, where its run's policy says so: before an attempt, and after one that was called too long.

use super::{driver::Driver, offers::Offers, plan::Step};
use crate::{
    conversation::{
        Bot, Context, ContextPolicy, DueCut, FailedAttempt, FailureCode, Params, Prompt, Sizes,
        Target, count_tokens, lay_out, lay_out_for_summary, prompt_limit,
    },
    models::StoreError,
};

/// What an attempt asks for.
pub(super) struct Question {
    /// What the model is shown.
    pub(super) prompt: Prompt,
    /// What is passed on.
    pub(super) params: Params,
    /// The turn before which everything is to be summed up; `None`: the turn itself is asked for.
    pub(super) summary_before: Option<u32>,
}

impl Driver {
    /// What is to be asked next in the open turn. Cuts the speaker's context first where messages are only to be left out.
    pub(super) async fn question(&mut self, speaker: &Bot) -> Result<Question, StoreError> {
        let names: Vec<String> = self.state.bots.iter().map(|bot| bot.name.clone()).collect();
        while self.state.context_policy != ContextPolicy::Fail {
            match self.due_cut(speaker).await {
                None => break,
                Some(DueCut::LeaveOut { kept_from_turn }) => {
                    let target = self.next_target(speaker);
                    self.commit(Step::LeftOut(kept_from_turn, target)).await?;
                }
                Some(DueCut::SumUp {
                    kept_from_turn: turn,
                    words,
                }) => {
                    let transcript = &self.state.transcript;
                    return Ok(Question {
                        prompt: lay_out_for_summary(speaker, &names, transcript, turn, words),
                        // What bounds a turn would bound the summary.
                        params: Params {
                            stop: None,
                            max_tokens: None,
                            ..speaker.params.clone()
                        },
                        summary_before: Some(turn),
                    });
                }
            }
        }
        Ok(Question {
            prompt: lay_out(speaker, &names, &self.state.transcript),
            params: speaker.params.clone(),
            summary_before: None,
        })
    }

    /// Who is asked next in the open turn, unless another has to stand in.
    pub(super) fn next_target(&self, speaker: &Bot) -> Target {
        let targets = speaker.targets();
        let failed = self.counted(speaker, &self.state.asked.failed);
        let next = self.config.retry.next(&targets, &failed);
        next.unwrap_or(&targets[0]).clone()
    }

    /// The failures that count against their targets: not what a cut of the context will answer.
    pub(super) fn counted(&self, speaker: &Bot, failed: &[FailedAttempt]) -> Vec<FailedAttempt> {
        let cut =
            self.state.context_policy != ContextPolicy::Fail && self.context(speaker).can_be_cut();
        let counts = |attempt: &&FailedAttempt| !(cut && attempt.code.calls_for_a_cut());
        failed.iter().filter(counts).cloned().collect()
    }

    /// How the speaker's context has to be cut before it is asked.
    async fn due_cut(&mut self, speaker: &Bot) -> Option<DueCut> {
        self.count(speaker).await;
        let target = self.next_target(speaker);
        // The window of a stand-in, which may be asked but once, cuts nothing before it is refused.
        let own = Some(&target).filter(|target| **target == speaker.targets()[0]);
        let limit = own.and_then(|own| self.window(own)).map(|window| {
            let provider = self.registry.get(&target.provider);
            let answer = provider.and_then(|p| p.max_tokens(&target.model, &speaker.params));
            prompt_limit(window, answer.map(u64::from))
        });
        let failed = &self.state.asked.failed;
        let of = |code| failed.iter().filter(|attempt| attempt.code == code).count();
        let refused = u32::try_from(of(FailureCode::ContextExceeded)).unwrap_or(u32::MAX);
        let asked = (refused, of(FailureCode::NoSummary) > 0);
        let policy = self.state.context_policy;
        self.context(speaker)
            .due_cut(policy, limit, asked, &self.sizes)
    }

    fn context<'a>(&'a self, speaker: &'a Bot) -> Context<'a> {
        Context {
            speaker,
            turn: self.state.head.turns,
            transcript: &self.state.transcript,
        }
    }

    /// Counts the texts that were not counted yet, on a thread that nobody waits for: long ones, and reading the encoding in the first
    /// time, take a while.
    async fn count(&mut self, speaker: &Bot) {
        let known = std::mem::take(&mut self.sizes.messages);
        let new = self.state.transcript.iter();
        let new = new.filter(|message| !known.contains_key(&message.pos));
        let new: Vec<(u64, String)> = new.map(|m| (m.pos, m.text.clone())).collect();
        let system = speaker.system_prompt.clone().unwrap_or_default();
        let counted = tokio::task::spawn_blocking(move || {
            let mut messages = known;
            messages.extend(new.iter().map(|(pos, text)| (*pos, count_tokens(text))));
            Sizes {
                messages,
                system: count_tokens(&system),
            }
        });
        // A count that broke off is made again the next time.
        self.sizes = counted.await.unwrap_or_default();
    }

    /// The context window of a model, where it is known.
    fn window(&self, target: &Target) -> Option<u64> {
        let offers = Offers {
            registry: &self.registry,
            catalogue: &self.config.catalogue,
        };
        offers.facts(target)?.context_window
    }
}
