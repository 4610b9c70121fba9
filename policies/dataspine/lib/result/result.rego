# METADATA
# description: |
#   The one shape of a violation. A rule brings facts; its code comes from its package's path and its words
#   from its package's METADATA, so that documentation and answer cannot disagree.
package dataspine.lib.result

# METADATA
# description: |
#   The violation of the package whose rule called. `chain` is rego.metadata.chain(). `facts` fill the
#   {placeholders} of the words; path, field and line also locate the violation. Every part has a default: were
#   one undefined, the violation would vanish and its rule would be silenced.
violation(chain, facts) := object.union(
	{
		"code": concat(".", array.slice(_package(chain).path, 2, 4)),
		"severity": object.get(_words(chain), ["custom", "severity"], "error"),
		"message": fill(object.get(_words(chain), ["custom", "message"], "a rule without words is broken"), facts),
		"remediation": fill(object.get(_words(chain), ["custom", "remediation"], ""), facts),
		"controls": object.get(_words(chain), ["labels", "controls"], []),
		"path": "",
	},
	{name: value |
		some name in ["path", "field", "line"]
		value := facts[name]
		value != null # a caller that knows no line sends none
	},
)

# METADATA
# description: The template with the facts in place of their {names}; other braces stay as they are.
fill(template, facts) := strings.replace_n(
	{sprintf("{%s}", [name]): _text(value) | some name, value in facts},
	template,
)

# METADATA
# description: A name as one part of a JSON Pointer.
escape(name) := replace(replace(name, "~", "~0"), "/", "~1")

_text(value) := value if {
	is_string(value)
} else := concat(", ", sort([sprintf("%v", [item]) | some item in value])) if {
	_is_collection(value)
} else := sprintf("%v", [value])

_is_collection(value) if is_array(value)

_is_collection(value) if is_set(value)

_words(chain) := object.get(_package(chain), "annotations", {})

# Without METADATA on the package no link has its scope; the path of the rule begins as the package's does.
_package(chain) := link if {
	some link in chain
	link.annotations.scope == "package"
} else := {"path": chain[0].path}
