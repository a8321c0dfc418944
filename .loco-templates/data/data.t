{% set module = name | snake_case -%}
to: "target/generated/nothing"
skip_glob: "src/conversation/mod.rs"
---
