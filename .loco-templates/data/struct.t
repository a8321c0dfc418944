{% set module = name | snake_case -%}
{% set type = module | pascal_case -%}
{# The stock template has a room of its own for data; here they belong to the conversation, as mod.t says. -#}
to: "target/generated/nothing"
---
