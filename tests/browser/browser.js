/* This file is part of TryCoTon.  The COPYRIGHT file at the top level of
 * this repository contains the full copyright notices and license terms. */
// Chromium for web.py: a command per line on the standard input,
// {"name": …, "arguments": …}, gets a line with {"value": …} or {"error": …}.
"use strict";
const path = require("path");
const readline = require("readline");

const [driver, executablePath, width, height] = process.argv.slice(2);
const {chromium} = require(path.join(driver, "node_modules/playwright-core"));
const TIMEOUT = 60000;

// What a person sees: the texts and the values of what is displayed
function look() {
    const seen = [];
    const walker = document.createTreeWalker(
        document.body, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.nodeType == Node.TEXT_NODE ?
            node.parentElement : node;
        if (!element.checkVisibility({visibilityProperty: true}) ||
            !element.getClientRects().length) {
            continue;
        }
        let text = "";
        if (node.nodeType == Node.TEXT_NODE) {
            if (!["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) {
                text = node.data;
            }
        } else if (node.tagName == "SELECT") {
            text = node.selectedOptions[0]?.text ?? "";
        } else if (["INPUT", "TEXTAREA"].includes(node.tagName) &&
            !["checkbox", "password"].includes(node.type)) {
            text = node.value;
        }
        text = text.replace(/[ \n\t]+/g, " ").trim();
        if (text) {
            seen.push(text);
        }
    }
    return seen;
}

(async () => {
    const browser = await chromium.launch(
        {executablePath, args: ["--no-sandbox"]});
    const context = await browser.newContext({
        viewport: {width: Number(width), height: Number(height)},
        locale: "fr-FR", timezoneId: "Europe/Paris"});
    context.setDefaultTimeout(TIMEOUT);
    const page = await context.newPage();
    const errors = [];
    page.on("pageerror", error => errors.push(String(error)));
    // What the client waits for: it shows it only after some seconds
    const pending = new Set();
    page.on("request", request => {
        // The answer to this one is to come when something happens
        if (!request.url().endsWith("/bus")) {
            pending.add(request);
        }
    });
    for (const end of ["requestfinished", "requestfailed"]) {
        page.on(end, request => pending.delete(request));
    }
    const visible = ({selector, text, nth}) => {
        let locator = page.locator(selector).filter({visible: true});
        if (text) {
            const escaped = text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
            locator = locator.filter(
                {hasText: RegExp(`^\\s*${escaped}\\s*$`)});
        }
        return locator.nth(nth ?? 0);
    };
    const commands = {
        open: async ({url}) => {
            await page.goto(url);
        },
        click: options => visible(options).click(
            {clickCount: options.double ? 2 : 1}),
        fill: ({text, ...options}) => visible(options).fill(text),
        press: ({key}) => page.keyboard.press(key),
        has: options => visible(options).isVisible(),
        wait: options => visible(options).waitFor(),
        count: options => page.locator(options.selector).count(),
        more: ({selector, count}) => page.waitForFunction(
            ([selector, count]) =>
                document.querySelectorAll(selector).length > count,
            [selector, count]).then(() => null),
        rest: async () => {
            // A request may follow another
            for (let quiet = 0; quiet < 2;) {
                await page.waitForTimeout(300);
                quiet = pending.size ? 0 : quiet + 1;
            }
        },
        sleep: ({seconds}) => page.waitForTimeout(seconds * 1000),
        look: () => page.evaluate(look),
        errors: () => errors,
        screenshot: async ({path}) => {
            await page.mouse.move(0, 0);
            await page.screenshot({path});
        },
    };
    const lines = readline.createInterface({input: process.stdin});
    for await (const line of lines) {
        const {name, arguments: arguments_} = JSON.parse(line);
        let answer;
        try {
            answer = {value: await commands[name](arguments_) ?? null};
        } catch (error) {
            answer = {error: String(error)};
        }
        process.stdout.write(JSON.stringify(answer) + "\n");
    }
    await browser.close();
})().catch(error => {
    process.stderr.write(`${error}\n`);
    process.exit(1);
});
