{% set module = name | snake_case -%}
{% set type = module | pascal_case -%}
to: "assets/{{module}}/data.json"
skip_exists: true
---
{
  "names": ["one", "two"]
}
