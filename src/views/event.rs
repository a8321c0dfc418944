//! The events of a stream as schemas: a union that the member `type` tells apart.
//!
//! An event goes out as the bytes that the log keeps, so there is no view of it to derive this from: each schema is that of the
//! domain's event, with what `RunEvent::to_data` and the log's frames put around it. The tests hold every event they see against it.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        AllOfBuilder, Discriminator, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, Type,
        schema::SchemaType,
    },
};

use crate::conversation::{
    AttemptError, BotUpdated, ContextSummarised, ContextTruncated, Delta, RunCompleted, RunFailed,
    RunStarted, RunStopped, Timestamp, TurnCompleted, TurnFailed, TurnInterrupted, TurnRestarted,
    TurnStarted,
};

/// The form of an event id.
const CURSOR: &str = "^(0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})$";

/// The `data` of an event, whatever its type.
pub struct StreamEvent;

/// An event as it stands in the stream: the fields of Server-Sent Events, with JSON as `data`.
pub struct Frame;

/// A schema with its name.
type Named = (String, RefOr<Schema>);

/// An event: its type, the name of its schema, and the schema.
struct Event {
    r#type: &'static str,
    name: String,
    schema: RefOr<Schema>,
    /// The schemas that it refers to.
    parts: Vec<Named>,
}

fn events() -> Vec<Event> {
    vec![
        durable::<RunStarted>("run.started"),
        durable::<TurnStarted>("turn.started"),
        delta(),
        durable::<TurnCompleted>("turn.completed"),
        durable::<TurnInterrupted>("turn.interrupted"),
        durable::<TurnFailed>("turn.failed"),
        durable::<TurnRestarted>("turn.restarted"),
        durable::<ContextTruncated>("context.truncated"),
        durable::<ContextSummarised>("context.summarised"),
        durable::<BotUpdated>("bot.updated"),
        durable::<AttemptError>("error"),
        durable::<RunCompleted>("run.completed"),
        durable::<RunStopped>("run.stopped"),
        durable::<RunFailed>("run.failed"),
    ]
}

fn durable<T: ToSchema>(r#type: &'static str) -> Event {
    let around = around(r#type)
        .property("at", Ref::from_schema_name(Timestamp::name()))
        .required("at");
    event::<T>(r#type, around)
}

/// A delta is no durable event, so it has no time.
fn delta() -> Event {
    event::<Delta<'_>>("turn.delta", around("turn.delta"))
}

fn around(r#type: &'static str) -> ObjectBuilder {
    let name = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .enum_values(Some([r#type]));
    ObjectBuilder::new().property("type", name).required("type")
}

fn event<T: ToSchema>(r#type: &'static str, around: ObjectBuilder) -> Event {
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    let schema = AllOfBuilder::new().item(T::schema()).item(around).into();
    let name = format!("{}Event", T::name());
    Event {
        r#type,
        name,
        schema: RefOr::T(schema),
        parts,
    }
}

impl PartialSchema for Frame {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
        let names = events().into_iter().map(|event| event.r#type);
        let id = text()
            .pattern(Some(CURSOR))
            .description(Some("The cursor to come back with."));
        let data = text()
            .content_media_type("application/json")
            .content_schema(Some(Ref::from_schema_name(StreamEvent::name())));
        let retry = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .description(Some(
                "In the first event: milliseconds to wait before coming back.",
            ));
        ObjectBuilder::new()
            .description(Some(
                "One event of the stream, by the fields of Server-Sent Events.",
            ))
            .property("event", text().enum_values(Some(names)))
            .required("event")
            .property("id", id)
            .required("id")
            .property("data", data)
            .required("data")
            .property("retry", retry)
            .into()
    }
}

impl ToSchema for Frame {
    fn schemas(schemas: &mut Vec<Named>) {
        schemas.push((StreamEvent::name().into_owned(), StreamEvent::schema()));
        StreamEvent::schemas(schemas);
    }
}

impl PartialSchema for StreamEvent {
    fn schema() -> RefOr<Schema> {
        let mut union = OneOfBuilder::new().description(Some(
            "The `data` of one event of the stream, a JSON object. `type` is also the event's name.",
        ));
        let mut mapping = Vec::new();
        for event in events() {
            let schema = Ref::from_schema_name(&event.name);
            mapping.push((event.r#type, schema.ref_location.clone()));
            union = union.item(schema);
        }
        let discriminator = Discriminator::with_mapping("type", mapping);
        RefOr::T(union.discriminator(Some(discriminator)).into())
    }
}

impl ToSchema for StreamEvent {
    fn schemas(schemas: &mut Vec<Named>) {
        for event in events() {
            schemas.push((event.name, event.schema));
            schemas.extend(event.parts);
        }
    }
}
