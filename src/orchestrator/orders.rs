//! Orders to a run, made of what its locked row says.

use super::{clock, plan};
use crate::{
    conversation::{Bot, BotChange, BotUpdated, StopMode},
    models::{CommandKind, Locked, Order},
};

/// Whether nobody drives the run and no turn is open: then a command is applied where it is given. An open turn that was left
/// by a process that ended is for its next owner to close.
fn is_idle(locked: &Locked) -> bool {
    !locked.owned && locked.head.open_seq.is_none()
}

/// The order to stop. A run that nobody drives is ended with it at once.
pub(super) fn stop_order(locked: &Locked, mode: StopMode) -> Order {
    let change = is_idle(locked).then(|| plan::stop_unowned(locked, clock::now()));
    Order {
        kind: CommandKind::Stop(mode),
        change,
    }
}

/// The order to change a bot; none if nothing changes. A run that nobody drives hears of it at once.
pub(super) fn update_order(locked: &Locked, next: &BotChange) -> Option<Order> {
    let before: &Bot = locked
        .run
        .bots
        .iter()
        .find(|bot| bot.index == next.bot.index)?;
    if before.version == next.bot.version {
        return None;
    }
    let update = BotUpdated {
        bot_index: next.bot.index,
        version: next.bot.version,
        changes: next.bot.changes_since(before),
        effective_from_turn: next.effective_from_turn,
    };
    let change = is_idle(locked).then(|| plan::update_unowned(locked, &update, clock::now()));
    Some(Order {
        kind: CommandKind::UpdateBot {
            update,
            bot: next.bot.clone(),
        },
        change,
    })
}
