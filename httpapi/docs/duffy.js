// A file of its own: the content security policy forbids inline scripts.
SwaggerUIBundle({
    url: new URL("../openapi.json", document.baseURI).href,
    dom_id: "#swagger-ui",
    deepLinking: true,
    defaultModelsExpandDepth: -1,
    showCommonExtensions: true,
    showExtensions: true,
    validatorUrl: null,
});
