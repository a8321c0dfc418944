//! Cutting what a bot is shown, where its run's policy says so: before an attempt, and after one that was called too long.

use super::{driver::Driver, offers::Offers, plan::Step};
use crate::{
    conversation::{
        Bot, Context, ContextPolicy, FailedAttempt, FailureCode, Params, Prompt, Target,
        count_tokens, lay_out, lay_out_for_summary, room,
    },
    models::StoreError,
};

/// What an attempt asks for.
pub(super) struct Order {
    /// What the model is shown.
    pub(super) prompt: Prompt,
    /// What is passed on.
    pub(super) params: Params,
    /// The turn before which everything is to be summed up; `None`: the turn itself is asked for.
    pub(super) summary_before: Option<u32>,
}

impl Driver {
    /// What that target is asked for next in the open turn. Cuts the speaker's context first where it is only to be left out.
    pub(super) async fn order(
        &mut self,
        speaker: &Bot,
        target: &Target,
    ) -> Result<Order, StoreError> {
        let names: Vec<String> = self.state.bots.iter().map(|bot| bot.name.clone()).collect();
        let policy = self.state.context_policy;
        while policy != ContextPolicy::Fail
            && let Some(turn) = self.due_cut(speaker, target).await
        {
            if policy == ContextPolicy::Summarise {
                let transcript = &self.state.transcript;
                return Ok(Order {
                    prompt: lay_out_for_summary(speaker, &names, transcript, turn),
                    // What ends a turn would end the summary.
                    params: Params {
                        stop: None,
                        ..speaker.params.clone()
                    },
                    summary_before: Some(turn),
                });
            }
            self.commit(Step::Truncated(turn)).await?;
        }
        Ok(Order {
            prompt: lay_out(speaker, &names, &self.state.transcript),
            params: speaker.params.clone(),
            summary_before: None,
        })
    }

    /// Where the speaker's context is to begin from now on, if it has to be cut before that target is asked.
    async fn due_cut(&self, speaker: &Bot, target: &Target) -> Option<u32> {
        // The first count reads the encoding in, which takes too long for a thread that others wait for; if that fails, so does the
        // count.
        let _ = tokio::task::spawn_blocking(|| count_tokens("")).await;
        let context = Context {
            speaker,
            transcript: &self.state.transcript,
        };
        let room = self.window(target).map(|w| room(w, &speaker.params));
        let refused = too_long(&self.state.asked.failed);
        context.due_cut(self.state.context_policy, room, refused)
    }

    /// The failures that count against their targets: not that a prompt was called too long, as long as it can be made shorter.
    pub(super) fn counted(&self, speaker: &Bot, failed: &[FailedAttempt]) -> Vec<FailedAttempt> {
        let mut counted = failed.to_vec();
        let refused = too_long(failed);
        let context = Context {
            speaker,
            transcript: &self.state.transcript,
        };
        if refused > 0 {
            let cut = context.due_cut(self.state.context_policy, None, refused);
            counted.retain(|f| cut.is_none() || f.code != FailureCode::ContextExceeded);
        }
        counted
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

/// How often a prompt was called too long.
fn too_long(failed: &[FailedAttempt]) -> u32 {
    let refused = failed
        .iter()
        .filter(|attempt| attempt.code == FailureCode::ContextExceeded);
    u32::try_from(refused.count()).unwrap_or(u32::MAX)
}
