"""``open-persona validate``: small rules for integrations and persona templates, each with an id.

``subject`` is what a rule looks at, ``rules`` are the rules, ``judgement`` applies them and the manifest's waivers,
``listing`` asks a server for its tools, ``personas`` judges templates. ``examination`` does all of it, ``report``
prints it, and ``command`` is the command itself.
"""
