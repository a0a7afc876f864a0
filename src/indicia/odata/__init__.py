"""OData 4.0 as pure functions: one table of entities, and text in, values out.

    entities   the one table: properties, types, limits, what is published and what is an extension
    literals   integers, times, dates and durations as OData spells them
    paths      the path of a URL -> its shape and keys; references to an entity
    headers    Prefer, If-Match, OData-Version -> what is asked
    options    the query string -> what is asked for, and the link to the next page
    tokens     the text of an expression -> tokens, within bounds
    constants  tokens -> typed literals
    functions  functions and operators: what they take, give and do
    parse      tokens -> a typed tree ($filter, $orderby)
    tree       the nodes of that tree, and a query over them
    meaning    a tree over nouns -> its value: what every database must give
    skiptoken  the sort keys at the end of a page <-> the token of a next link
    bodies     a JSON body -> nouns of `indicia.model`, every fault with its place
    format     nouns -> JSON, annotations, next links
    metadata   the table -> $metadata (CSDL XML) and the service document

References: OData 4.01 Part 2 (URL conventions), OData JSON 4.01, OData CSDL XML 4.01.
"""
